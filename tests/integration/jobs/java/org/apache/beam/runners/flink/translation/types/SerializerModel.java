package org.apache.beam.runners.flink.translation.types;

import java.io.ByteArrayOutputStream;
import java.io.ObjectOutputStream;
import java.io.ObjectStreamClass;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import org.apache.beam.runners.core.construction.SerializablePipelineOptions;
import org.apache.beam.sdk.coders.ByteArrayCoder;
import org.apache.beam.sdk.coders.Coder;
import org.apache.beam.sdk.coders.KvCoder;
import org.apache.beam.sdk.coders.VarLongCoder;
import org.apache.beam.sdk.options.PipelineOptions;
import org.apache.beam.sdk.options.PipelineOptionsFactory;
import org.apache.beam.sdk.util.SerializableUtils;
import org.apache.beam.sdk.values.KV;
import org.apache.flink.api.common.typeutils.TypeSerializer;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import org.apache.flink.core.memory.DataInputDeserializer;
import org.apache.flink.core.memory.DataOutputSerializer;

/**
 * Read what Beam's own serializer wrote into a savepoint, and look at what ours writes.
 *
 * <p>The file holds what Beam 2.62's class writes of the same coder, for a job named acme: what `write` below
 * makes, with Beam's own jar before ours in the class path. That Beam's class reads what ours writes follows
 * from the same classes, fields and version.
 */
public class SerializerModel {

  public static void main(String[] arguments) throws Exception {
    byte[] beams = Files.readAllBytes(Path.of(arguments[0]));
    Coder<KV<byte[], Long>> coder = KvCoder.of(ByteArrayCoder.of(), VarLongCoder.of());
    CoderTypeSerializer<KV<byte[], Long>> ours =
        new CoderTypeSerializer<>(coder, new SerializablePipelineOptions(named("acme")));
    KV<byte[], Long> value = KV.of(new byte[] {1, 2}, 7L);

    say("reads Beam's", same(value, through(read(beams), ours, value)));
    byte[] written = write(ours);
    say("reads its own", same(value, through(ours, read(written), value)));
    // Class names, their versions and the coder are what Beam's class reads; options may differ.
    say("is read by the same classes", header(beams).equals(header(written)));
    say("has the same coder", read(beams).equals(read(written)));
    say("says no option of the job", !said(written).contains("acme") && said(beams).contains("acme"));
    say("is not copied", ours.duplicate() == ours);
    say("is written once", endsWith(written, ours.written()) && ours.written() == ours.written());
    ObjectStreamClass form = ObjectStreamClass.lookup(CoderTypeSerializer.class);
    say(
        "has the fields of Beam's",
        form.getSerialVersionUID() == 7247319138941746449L
            && Arrays.toString(form.getFields())
                .equals(
                    "[Z fasterCopy, Lorg/apache/beam/sdk/coders/Coder; coder,"
                        + " Lorg/apache/beam/runners/core/construction/SerializablePipelineOptions;"
                        + " pipelineOptions]"));
  }

  private static void say(String what, boolean is) {
    System.out.println((is ? "yes: " : "NO: ") + what);
  }

  private static boolean endsWith(byte[] all, byte[] end) {
    return Arrays.equals(Arrays.copyOfRange(all, all.length - end.length, all.length), end);
  }

  private static PipelineOptions named(String job) {
    PipelineOptions options = PipelineOptionsFactory.create();
    options.setJobName(job);
    return options;
  }

  private static byte[] write(TypeSerializer<?> serializer) throws Exception {
    DataOutputSerializer to = new DataOutputSerializer(64);
    TypeSerializerSnapshot.writeVersionedSnapshot(to, serializer.snapshotConfiguration());
    return to.getCopyOfBuffer();
  }

  private static TypeSerializer<KV<byte[], Long>> read(byte[] bytes) throws Exception {
    ClassLoader loader = SerializerModel.class.getClassLoader();
    return TypeSerializerSnapshot.<KV<byte[], Long>>readVersionedSnapshot(
            new DataInputDeserializer(bytes), loader)
        .restoreSerializer();
  }

  /** Return the class that reads it, and that class's version. */
  private static String header(byte[] bytes) throws Exception {
    DataInputDeserializer from = new DataInputDeserializer(bytes);
    return from.readUTF() + " " + from.readInt();
  }

  /** Return the serializer's own bytes, unpacked, as far as they are text. */
  private static String said(byte[] bytes) throws Exception {
    DataInputDeserializer from = new DataInputDeserializer(bytes);
    from.readUTF();
    from.readInt();
    byte[] packed = new byte[from.readInt()];
    from.readFully(packed);
    Object found = SerializableUtils.deserializeFromByteArray(packed, "a serializer");
    ByteArrayOutputStream plain = new ByteArrayOutputStream();
    try (ObjectOutputStream objects = new ObjectOutputStream(plain)) {
      objects.writeObject(found);
    }
    return plain.toString(StandardCharsets.ISO_8859_1);
  }

  private static <T> T through(TypeSerializer<T> writer, TypeSerializer<T> reader, T value)
      throws Exception {
    DataOutputSerializer to = new DataOutputSerializer(64);
    writer.serialize(value, to);
    return reader.deserialize(new DataInputDeserializer(to.getCopyOfBuffer()));
  }

  private static boolean same(KV<byte[], Long> one, KV<byte[], Long> other) {
    return Arrays.equals(one.getKey(), other.getKey()) && one.getValue().equals(other.getValue());
  }
}
