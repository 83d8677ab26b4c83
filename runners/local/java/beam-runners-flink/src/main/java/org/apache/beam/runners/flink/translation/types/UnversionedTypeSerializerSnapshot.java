package org.apache.beam.runners.flink.translation.types;

import java.io.IOException;
import org.apache.beam.sdk.util.SerializableUtils;
import org.apache.flink.api.common.typeutils.TypeSerializer;
import org.apache.flink.api.common.typeutils.TypeSerializerSchemaCompatibility;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;
import org.apache.flink.util.TemporaryClassLoaderContext;

/**
 * Say in a savepoint how a state is encoded, and read it again.
 *
 * <p>This takes the place of Beam 2.62's class of the same name: what it writes is made once for each
 * serializer, see {@link CoderTypeSerializer}. Bytes are those of Beam's class: their number, and then the
 * serializer by Java's serialization. Whether an encoding may follow another is for `tillstream plan` to say.
 */
public class UnversionedTypeSerializerSnapshot<T> implements TypeSerializerSnapshot<T> {

  private CoderTypeSerializer<T> serializer;

  /** For Flink, which reads it then. */
  public UnversionedTypeSerializerSnapshot() {}

  public UnversionedTypeSerializerSnapshot(CoderTypeSerializer<T> serializer) {
    this.serializer = serializer;
  }

  @Override
  public int getCurrentVersion() {
    return 1;
  }

  @Override
  public void writeSnapshot(DataOutputView to) throws IOException {
    byte[] bytes = serializer.written();
    to.writeInt(bytes.length);
    to.write(bytes);
  }

  @Override
  @SuppressWarnings("unchecked")
  public void readSnapshot(int version, DataInputView from, ClassLoader loader) throws IOException {
    byte[] bytes = new byte[from.readInt()];
    from.readFully(bytes);
    try (TemporaryClassLoaderContext context = TemporaryClassLoaderContext.of(loader)) {
      serializer =
          (CoderTypeSerializer<T>)
              SerializableUtils.deserializeFromByteArray(bytes, CoderTypeSerializer.class.getName());
    }
  }

  @Override
  public TypeSerializer<T> restoreSerializer() {
    return serializer;
  }

  @Override
  public TypeSerializerSchemaCompatibility<T> resolveSchemaCompatibility(TypeSerializer<T> newer) {
    return TypeSerializerSchemaCompatibility.compatibleAsIs();
  }
}
