import { describe, expect, test } from '@jest/globals';
import { kuduIndex } from './support/kudu-index.ts';

describe('the index of a dataset in Kudu', () => {
  test('follows inserts, updates, deletions, and an image that comes back', async () => {
    await using index = await kuduIndex();
    const { dataset } = index;
    index.start();
    await index.put([
      { id: 'a', known_label: 3, prediction: 3 },
      { id: 'b', prediction: -1 },
    ]);
    await index.follows();
    expect(await index.document('a', dataset)).toMatchObject({ known_class: '3', correct: true });
    expect(await index.document('b', dataset)).not.toHaveProperty('predicted_class');

    await index.put([{ id: 'a', known_label: 4, prediction: 3 }]);
    await index.follows();
    expect(await index.document('a', dataset)).toMatchObject({ known_class: '4', correct: false });

    await index.remove(['a']);
    await index.follows();
    expect(await index.document('a', dataset)).toBeUndefined();

    await index.put([{ id: 'a', known_label: 9 }]);
    await index.follows();
    expect(await index.document('a', dataset)).toMatchObject({ known_class: '9' });
  });
});
