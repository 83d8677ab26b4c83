package org.apache.beam.runners.flink.translation.wrappers.streaming.stableinput;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashSet;
import java.util.Iterator;
import java.util.List;
import java.util.Set;
import java.util.function.Function;
import java.util.function.Supplier;
import org.apache.beam.runners.core.DoFnRunner;
import org.apache.beam.runners.core.construction.SerializablePipelineOptions;
import org.apache.beam.runners.flink.translation.types.CoderTypeSerializer;
import org.apache.beam.runners.flink.translation.utils.Locker;
import org.apache.beam.sdk.state.TimeDomain;
import org.apache.beam.sdk.transforms.DoFn;
import org.apache.beam.sdk.transforms.windowing.BoundedWindow;
import org.apache.beam.sdk.util.WindowedValue;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.runtime.state.KeyedStateBackend;
import org.apache.flink.runtime.state.OperatorStateBackend;
import org.joda.time.Instant;

/**
 * Hold elements back until the checkpoint that contains them is complete: what stable input rests on.
 *
 * <p>This takes the place of Beam 2.62's class of the same name, whose buffers are two, used in turn. After a
 * restore both may hold what no checkpoint has released yet; new elements then go in among the older ones,
 * leave before their own checkpoint is complete, and out of order
 * (docs/decisions/0020-buffers-of-stable-input.md). Here a buffer is used again only when it is empty.
 *
 * <p>State is that of Beam's class, so that savepoints of either are read by the other.
 */
@SuppressWarnings({"rawtypes", "unchecked"})
public class BufferingDoFnRunner<InputT, OutputT> implements DoFnRunner<InputT, OutputT> {

  /**
   * How many buffers take turns: that of the elements that come, that of the checkpoint which is on its way,
   * and one for a checkpoint whose completion a task hears of late.
   */
  private static final int BUFFERS = 3;

  private final DoFnRunner<InputT, OutputT> underlying;
  private final ListState<CheckpointIdentifier> pending;
  private final Buffers buffers;
  private final List<Integer> turns;
  private final KeyedStateBackend keyedState;
  private final Supplier<Locker> locker;
  private final Function<InputT, Object> keyOf;
  private final Runnable onFinishBundle;
  private int turn;
  private BufferingElementsHandler buffer;
  private volatile long minTimestamp = Long.MAX_VALUE;

  public static <InputT, OutputT> BufferingDoFnRunner<InputT, OutputT> create(
      DoFnRunner<InputT, OutputT> underlying,
      String stateName,
      org.apache.beam.sdk.coders.Coder inputCoder,
      org.apache.beam.sdk.coders.Coder windowCoder,
      OperatorStateBackend operatorState,
      KeyedStateBackend<Object> keyedState,
      int maxConcurrentCheckpoints,
      SerializablePipelineOptions options)
      throws Exception {
    return create(
        underlying,
        stateName,
        inputCoder,
        windowCoder,
        operatorState,
        keyedState,
        maxConcurrentCheckpoints,
        options,
        null,
        null,
        null);
  }

  public static <InputT, OutputT> BufferingDoFnRunner<InputT, OutputT> create(
      DoFnRunner<InputT, OutputT> underlying,
      String stateName,
      org.apache.beam.sdk.coders.Coder inputCoder,
      org.apache.beam.sdk.coders.Coder windowCoder,
      OperatorStateBackend operatorState,
      KeyedStateBackend<Object> keyedState,
      int maxConcurrentCheckpoints,
      SerializablePipelineOptions options,
      Supplier<Locker> locker,
      Function<InputT, Object> keyOf,
      Runnable onFinishBundle)
      throws Exception {
    Buffers buffers =
        index -> {
          ListStateDescriptor<BufferedElement> descriptor =
              new ListStateDescriptor<>(
                  stateName + index,
                  new CoderTypeSerializer<>(
                      new BufferedElements.Coder(inputCoder, windowCoder, null), options));
          return keyedState == null
              ? NonKeyedBufferingElementsHandler.create(operatorState.getListState(descriptor))
              : KeyedBufferingElementsHandler.create(keyedState, descriptor);
        };
    ListState<CheckpointIdentifier> pending =
        operatorState.getUnionListState(
            new ListStateDescriptor<>("notYetAcknowledgedSnapshots", CheckpointIdentifier.class));
    return new BufferingDoFnRunner<>(
        underlying,
        pending,
        buffers,
        Math.max(BUFFERS, maxConcurrentCheckpoints + 2),
        keyedState,
        locker,
        keyedState == null ? null : keyOf,
        onFinishBundle);
  }

  private BufferingDoFnRunner(
      DoFnRunner<InputT, OutputT> underlying,
      ListState<CheckpointIdentifier> pending,
      Buffers buffers,
      int count,
      KeyedStateBackend keyedState,
      Supplier<Locker> locker,
      Function<InputT, Object> keyOf,
      Runnable onFinishBundle)
      throws Exception {
    this.underlying = underlying;
    this.pending = pending;
    this.buffers = buffers;
    this.keyedState = keyedState;
    this.locker = locker;
    this.keyOf = keyOf;
    this.onFinishBundle = onFinishBundle;
    this.turns = free(pending.get(), count);
    this.buffer = buffers.get(turns.get(0));
  }

  /**
   * Return the lowest indices that no restored snapshot uses. The snapshots are those of all subtasks, so that
   * all choose alike: an index then names the buffers of one checkpoint, whoever restores them next.
   */
  static List<Integer> free(Iterable<CheckpointIdentifier> pending, int count) {
    Set<Integer> used = new HashSet<>();
    pending.forEach(each -> used.add(each.internalId));
    List<Integer> found = new ArrayList<>();
    for (int index = 0; found.size() < count; index++) {
      if (!used.contains(index)) {
        found.add(index);
      }
    }
    return found;
  }

  @Override
  public void startBundle() {
    // Bundles of the underlying runner begin when elements are let go.
  }

  @Override
  public void processElement(WindowedValue<InputT> element) {
    Object key = keyOf == null ? null : keyOf.apply(element.getValue());
    hold(element.getTimestamp(), key, new BufferedElements.Element(element));
  }

  @Override
  public <KeyT> void onTimer(
      String timerId,
      String timerFamilyId,
      KeyT key,
      BoundedWindow window,
      Instant timestamp,
      Instant outputTimestamp,
      TimeDomain domain) {
    hold(
        outputTimestamp,
        key,
        new BufferedElements.Timer<>(
            timerId, timerFamilyId, key, window, timestamp, outputTimestamp, domain));
  }

  private void hold(Instant timestamp, Object key, BufferedElement element) {
    minTimestamp = Math.min(timestamp.getMillis(), minTimestamp);
    try (Locker lock = locker == null ? null : locker.get()) {
      if (keyOf != null) {
        keyedState.setCurrentKey(key);
      }
      buffer.buffer(element);
    }
  }

  @Override
  public void finishBundle() {
    if (onFinishBundle != null) {
      onFinishBundle.run();
    }
  }

  @Override
  public <KeyT> void onWindowExpiration(BoundedWindow window, Instant timestamp, KeyT key) {}

  @Override
  public DoFn<InputT, OutputT> getFn() {
    return underlying.getFn();
  }

  /** Close the buffer for a checkpoint that is being taken, and open the next one. */
  public void checkpoint(long checkpointId) throws Exception {
    pending.add(new CheckpointIdentifier(turns.get(turn), checkpointId));
    turn = (turn + 1) % turns.size();
    buffer = buffers.get(turns.get(turn));
  }

  /** Let go what checkpoints up to this one contain, in their order. */
  public void checkpointCompleted(long checkpointId) throws Exception {
    List<CheckpointIdentifier> complete = new ArrayList<>();
    List<CheckpointIdentifier> remaining = new ArrayList<>();
    for (CheckpointIdentifier each : pending.get()) {
      (each.checkpointId <= checkpointId ? complete : remaining).add(each);
    }
    pending.update(remaining);
    complete.sort(Comparator.comparingLong(each -> each.checkpointId));
    for (CheckpointIdentifier each : complete) {
      letGo(buffers.get(each.internalId));
    }
    minTimestamp = Long.MAX_VALUE;
  }

  private void letGo(BufferingElementsHandler held) {
    try (Locker lock = locker == null ? null : locker.get()) {
      Iterator<BufferedElement> elements = held.getElements().iterator();
      if (elements.hasNext()) {
        underlying.startBundle();
        elements.forEachRemaining(element -> element.processWith(underlying));
        underlying.finishBundle();
      }
      held.clear();
    }
  }

  public long getOutputWatermarkHold() {
    return minTimestamp;
  }

  /** Return the buffer of an index. */
  private interface Buffers {
    BufferingElementsHandler get(int index) throws Exception;
  }

  /** Name the buffer that a checkpoint has closed; part of savepoints, by this name and these fields. */
  static class CheckpointIdentifier {
    final int internalId;
    final long checkpointId;

    CheckpointIdentifier(int internalId, long checkpointId) {
      this.internalId = internalId;
      this.checkpointId = checkpointId;
    }
  }
}
