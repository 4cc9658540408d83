import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.time.Duration;
import java.util.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.serialization.*;

/**
 * Kafka's own client, for what must look the same to others. Messages are files: the name is the key.
 *   produce BROKERS TOPIC CODEC FOLDER   sends every file of the folder
 *   consume BROKERS TOPIC COUNT FOLDER   writes every message to a file of the folder
 */
class KafkaMessages {
  public static void main(String[] args) throws Exception {
    Map<String, Object> settings = new HashMap<>();
    settings.put("bootstrap.servers", args[1]);
    if (args[0].equals("produce")) produce(settings, args[2], args[3], Path.of(args[4]));
    else consume(settings, args[2], Integer.parseInt(args[3]), Path.of(args[4]));
  }

  static void produce(Map<String, Object> settings, String topic, String codec, Path folder) throws Exception {
    settings.put("compression.type", codec);
    settings.put("linger.ms", 100);  // so that several messages share a batch
    settings.put("batch.size", 500_000);
    try (var producer = new KafkaProducer<>(settings, new StringSerializer(), new ByteArraySerializer());
        var files = Files.list(folder)) {
      for (Path file : files.sorted().toList()) {
        var message = new ProducerRecord<>(topic, file.getFileName().toString(), Files.readAllBytes(file));
        message.headers().add("known-label", codec.getBytes(StandardCharsets.UTF_8));
        producer.send(message);
      }
    }
  }

  static void consume(Map<String, Object> settings, String topic, int count, Path folder) throws Exception {
    settings.put("group.id", "java-" + topic);
    settings.put("auto.offset.reset", "earliest");
    try (var consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new ByteArrayDeserializer())) {
      consumer.subscribe(List.of(topic));
      long deadline = System.currentTimeMillis() + 30_000;
      for (int seen = 0; seen < count && System.currentTimeMillis() < deadline; ) {
        for (var message : consumer.poll(Duration.ofMillis(200))) {
          Files.write(folder.resolve(message.key()), message.value());
          seen++;
        }
      }
    }
  }
}
