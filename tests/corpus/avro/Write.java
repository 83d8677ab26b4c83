/*
 * Write a corpus of messages in Avro: what the real connector wrote with schemas, through a real registry.
 *
 * Reads lines of JSON with topic, key and value, as JsonConverter wrote them, and writes the same lines with avro_key
 * and avro_value added, base64, as Apicurio's AvroConverter writes them in Confluent's wire format. The registry, from
 * Maven Central: io.apicurio:apicurio-registry-app:2.6.13.Final, classifier all, type tar.gz; the converter:
 * io.apicurio:apicurio-registry-utils-converter:2.6.13.Final and what it needs.
 *
 *     java -cp 'CONVERTER/*' Write.java http://127.0.0.1:PORT/apis/registry/v2 schemas.jsonl.gz messages.jsonl
 *
 * Then GET /apis/ccompat/v7/schemas/ids/{id} of each id; messages.jsonl.gz holds these answers first.
 */

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.apicurio.registry.utils.converter.AvroConverter;
import java.io.BufferedReader;
import java.io.FileInputStream;
import java.io.InputStreamReader;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.Map;
import java.util.zip.GZIPInputStream;
import org.apache.kafka.connect.data.SchemaAndValue;
import org.apache.kafka.connect.json.JsonConverter;

public class Write {
    private static final ObjectMapper MAPPER = new ObjectMapper();

    public static void main(String[] arguments) throws Exception {
        Map<String, Object> about = Map.of(
            "apicurio.registry.url", arguments[0],
            "apicurio.registry.auto-register", true,
            "apicurio.registry.as-confluent", true,
            "apicurio.registry.headers.enabled", false,
            "apicurio.registry.use-id", "contentId",
            "apicurio.registry.id-handler", "io.apicurio.registry.serde.Legacy4ByteIdHandler");
        try (BufferedReader lines = new BufferedReader(new InputStreamReader(
                new GZIPInputStream(new FileInputStream(arguments[1])), StandardCharsets.UTF_8));
                PrintWriter written = new PrintWriter(arguments[2], StandardCharsets.UTF_8)) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                ObjectNode message = (ObjectNode) MAPPER.readTree(line);
                for (String part : new String[] {"key", "value"}) {
                    message.set("avro_" + part, encoded(message, part, about));
                }
                written.println(MAPPER.writeValueAsString(message));
            }
        }
    }

    private static JsonNode encoded(ObjectNode message, String part, Map<String, Object> about) {
        if (message.get(part).isNull()) {
            return MAPPER.nullNode();
        }
        String topic = message.get("topic").asText();
        JsonConverter json = new JsonConverter();
        AvroConverter avro = new AvroConverter();
        json.configure(Map.of("schemas.enable", "true"), part.equals("key"));
        avro.configure(about, part.equals("key"));
        SchemaAndValue found = json.toConnectData(topic, message.get(part).asText().getBytes(StandardCharsets.UTF_8));
        byte[] bytes = avro.fromConnectData(topic, found.schema(), found.value());
        return MAPPER.getNodeFactory().textNode(Base64.getEncoder().encodeToString(bytes));
    }
}
