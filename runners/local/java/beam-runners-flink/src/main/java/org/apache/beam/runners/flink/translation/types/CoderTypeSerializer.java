package org.apache.beam.runners.flink.translation.types;

import java.io.EOFException;
import java.io.IOException;
import org.apache.beam.runners.core.construction.SerializablePipelineOptions;
import org.apache.beam.runners.flink.FlinkPipelineOptions;
import org.apache.beam.runners.flink.translation.wrappers.DataInputViewWrapper;
import org.apache.beam.runners.flink.translation.wrappers.DataOutputViewWrapper;
import org.apache.beam.sdk.coders.Coder;
import org.apache.beam.sdk.coders.CoderException;
import org.apache.beam.sdk.options.PipelineOptionsFactory;
import org.apache.beam.sdk.util.CoderUtils;
import org.apache.beam.sdk.util.SerializableUtils;
import org.apache.flink.api.common.typeutils.TypeSerializer;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;

/**
 * Serialize what a Beam coder encodes, as Flink wants it.
 *
 * <p>This takes the place of Beam 2.62's class of the same name, which every checkpoint copies and writes once
 * for each state, all of the pipeline's options with it: of an idle job that is the most of a checkpoint, in
 * bytes as in processor time (docs/decisions/0026-a-hundred-jobs.md). Here it is not copied, since coders may
 * be used by several threads, and what is written is made once, and without the job's options.
 *
 * <p>What is written is read by Beam's class, and the other way round.
 */
public class CoderTypeSerializer<T> extends TypeSerializer<T> {

  // That of Beam's class.
  private static final long serialVersionUID = 7247319138941746449L;
  // Reading needs options, and of these nothing but that they are there.
  private static final SerializablePipelineOptions NONE =
      new SerializablePipelineOptions(PipelineOptionsFactory.create());

  private final Coder<T> coder;
  private final SerializablePipelineOptions pipelineOptions;
  private final boolean fasterCopy;
  private transient volatile byte[] written;

  public CoderTypeSerializer(Coder<T> coder, SerializablePipelineOptions pipelineOptions) {
    this(coder, pipelineOptions, pipelineOptions.get().as(FlinkPipelineOptions.class).getFasterCopy());
  }

  private CoderTypeSerializer(
      Coder<T> coder, SerializablePipelineOptions pipelineOptions, boolean fasterCopy) {
    this.coder = coder;
    this.pipelineOptions = pipelineOptions;
    this.fasterCopy = fasterCopy;
  }

  /** Return what a savepoint says of this serializer. */
  byte[] written() {
    byte[] found = written;
    if (found == null) {
      found = SerializableUtils.serializeToByteArray(new CoderTypeSerializer<>(coder, NONE, fasterCopy));
      written = found;
    }
    return found;
  }

  @Override
  public TypeSerializerSnapshot<T> snapshotConfiguration() {
    return new UnversionedTypeSerializerSnapshot<>(this);
  }

  @Override
  public CoderTypeSerializer<T> duplicate() {
    return this;
  }

  @Override
  public boolean isImmutableType() {
    return false;
  }

  @Override
  public T createInstance() {
    return null;
  }

  @Override
  public int getLength() {
    return -1;
  }

  @Override
  public T copy(T value) {
    if (fasterCopy) {
      return value;
    }
    try {
      return CoderUtils.clone(coder, value);
    } catch (CoderException e) {
      throw new IllegalStateException("cannot copy by " + coder, e);
    }
  }

  @Override
  public T copy(T value, T reuse) {
    return copy(value);
  }

  @Override
  public void copy(DataInputView from, DataOutputView to) throws IOException {
    serialize(deserialize(from), to);
  }

  @Override
  public void serialize(T value, DataOutputView to) throws IOException {
    coder.encode(value, new DataOutputViewWrapper(to));
  }

  @Override
  public T deserialize(DataInputView from) throws IOException {
    try {
      return coder.decode(new DataInputViewWrapper(from));
    } catch (CoderException e) {
      // Flink tells an end by this class alone.
      if (e.getCause() instanceof EOFException) {
        throw (EOFException) e.getCause();
      }
      throw e;
    }
  }

  @Override
  public T deserialize(T reuse, DataInputView from) throws IOException {
    return deserialize(from);
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof CoderTypeSerializer && coder.equals(((CoderTypeSerializer<?>) other).coder);
  }

  @Override
  public int hashCode() {
    return coder.hashCode();
  }

  @Override
  public String toString() {
    return "CoderTypeSerializer{coder=" + coder + "}";
  }
}
