import { expect, test } from '@jest/globals';
import { imagehub } from '../support/imagehub.ts';
import { describeEachStore } from './support/each-store.ts';
import { storeHub } from './support/store-hub.ts';

describeEachStore('imagehub sql', (store) => {
  const hub = storeHub(store);

  test('answers the classic queries with no word about where the images are', async () => {
    await using dataset = await hub.dataset();
    await dataset.put(
      [7, 7, 1, -1, 7].map((prediction, i) => ({
        id: `${i}.png`,
        prediction,
        known_label: i < 3 ? 7 : null,
      })),
    );
    const ask = async (statement: string) => {
      const { env } = hub;
      const { status, stdout, stderr } = await imagehub(['sql', statement, '--format', 'csv'], { env });
      expect({ status, stderr }).toEqual({ status: 0, stderr: expect.stringMatching(/ rows? in /) });
      return stdout.split('\n').slice(1, -1);
    };
    const { name } = dataset;
    const all = `select count(prediction), prediction as all_prediction from ${name} group by prediction order by prediction`;
    const correct = `select count(prediction), prediction as correct_prediction from ${name} where prediction = known_label
      group by prediction order by prediction`;
    expect(await Promise.all([ask(all), ask(correct)])).toEqual([['1,-1', '1,1', '3,7'], ['2,7']]);
  });
});
