import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.debezium.converters.CloudEventsConverter;
import io.debezium.transforms.ExtractNewRecordState;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.connect.data.SchemaAndValue;
import org.apache.kafka.connect.json.JsonConverter;
import org.apache.kafka.connect.source.SourceRecord;
import org.apache.kafka.connect.storage.Converter;
import org.apache.kafka.connect.storage.SimpleHeaderConverter;

/**
 * Turns recorded envelopes with schemas into what Debezium's own transform and converter make of them.
 *
 * <p>Reads lines of {topic, key, value} and writes lines of {topic, key, value, headers}. Arguments: `cloudevents` or
 * a delete.tombstone.handling.mode; `true` or `false`, whether messages have their schema. The classes of Kafka,
 * Connect and Debezium that `tillstream setup` fetches must be on the class path:
 *
 * <pre>zcat envelopes.jsonl.gz | java -cp "$JARS/connect/*:$JARS/plugins/debezium/*:$JARS/broker/*" Transform.java \
 *     tombstone true | gzip -n > flattened_tombstone_schema.jsonl.gz</pre>
 */
public final class Transform {
    private static final String FIELDS = "op,connector,name,schema,table,lsn,source.sequence,source.snapshot,"
            + "source.ts_us,source.ts_ms,transaction.id,transaction.total_order";

    private Transform() {
    }

    public static void main(String[] arguments) throws Exception {
        String mode = arguments[0];
        String schemas = arguments[1];
        boolean isCloud = mode.equals("cloudevents");
        JsonConverter keys = converter("true", true);
        JsonConverter values = converter("true", false);
        JsonConverter keysOut = converter(schemas, true);
        Converter valuesOut = isCloud ? new CloudEventsConverter() : converter(schemas, false);
        ExtractNewRecordState<SourceRecord> transform = new ExtractNewRecordState<>();
        if (isCloud) {
            valuesOut.configure(Map.of("serializer.type", "json", "data.serializer.type", "json",
                    "json.schemas.enable", schemas), false);
        } else {
            Map<String, String> settings = new HashMap<>();
            settings.put("delete.tombstone.handling.mode", mode);
            settings.put(mode.startsWith("rewrite") ? "add.fields" : "add.headers", FIELDS);
            transform.configure(settings);
        }
        ObjectMapper mapper = new ObjectMapper();
        SimpleHeaderConverter headers = new SimpleHeaderConverter();
        PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            JsonNode read = mapper.readTree(line);
            String topic = read.get("topic").asText();
            SchemaAndValue key = keys.toConnectData(topic, bytes(read.get("key")));
            SchemaAndValue value = values.toConnectData(topic, bytes(read.get("value")));
            SourceRecord record = new SourceRecord(Map.of(), Map.of(), topic, 0, key.schema(), key.value(),
                    value.schema(), value.value());
            if (!isCloud) {
                record = transform.apply(record);
            }
            if (record == null) {
                continue;
            }
            ObjectNode written = mapper.createObjectNode().put("topic", topic);
            written.put("key", text(keysOut.fromConnectData(topic, record.keySchema(), record.key())));
            written.put("value", text(valuesOut.fromConnectData(topic, new RecordHeaders(), record.valueSchema(),
                    record.value())));
            var found = written.putArray("headers");
            record.headers().forEach(header -> found.addArray().add(header.key())
                    .add(text(headers.fromConnectHeader(topic, header.key(), header.schema(), header.value()))));
            out.println(mapper.writeValueAsString(written));
        }
        out.flush();
    }

    private static JsonConverter converter(String schemas, boolean isKey) {
        JsonConverter converter = new JsonConverter();
        converter.configure(Map.of("schemas.enable", schemas), isKey);
        return converter;
    }

    private static byte[] bytes(JsonNode node) {
        return node == null || node.isNull() ? null : node.asText().getBytes(StandardCharsets.UTF_8);
    }

    private static String text(byte[] bytes) {
        return bytes == null ? null : new String(bytes, StandardCharsets.UTF_8);
    }
}
