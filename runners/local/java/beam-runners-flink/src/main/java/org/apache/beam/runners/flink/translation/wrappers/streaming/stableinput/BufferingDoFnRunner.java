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
 * (docs/decisions/0020-buffers-of-stable-input.md).
 *
 * <p>Here one buffer is open to the elements that come, and one closed: it waits for a checkpoint. Where a
 * checkpoint closes the open one while another waits still, the elements join those that wait. A snapshot so
 * holds each key's elements in one buffer, in order, whichever subtasks restore it, and however many there are
 * then (docs/decisions/0028-rescaling-and-flink-operations.md).
 *
 * <p>State is that of Beam's class, so that savepoints of either are read by the other.
 */
@SuppressWarnings({"rawtypes", "unchecked"})
public class BufferingDoFnRunner<InputT, OutputT> implements DoFnRunner<InputT, OutputT> {

  private final DoFnRunner<InputT, OutputT> underlying;
  private final ListState<CheckpointIdentifier> pending;
  private final Buffers buffers;
  private final KeyedStateBackend keyedState;
  private final Supplier<Locker> locker;
  private final Function<InputT, Object> keyOf;
  private final Runnable onFinishBundle;
  private int open;
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
        keyedState,
        locker,
        keyedState == null ? null : keyOf,
        onFinishBundle);
  }

  private BufferingDoFnRunner(
      DoFnRunner<InputT, OutputT> underlying,
      ListState<CheckpointIdentifier> pending,
      Buffers buffers,
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
    open(waiting());
  }

  /**
   * Return what waits for a checkpoint, each buffer once, in the order of their checkpoints. After a restore the
   * state names the buffers of all subtasks, as often as there were subtasks.
   */
  private List<CheckpointIdentifier> waiting() throws Exception {
    List<CheckpointIdentifier> found = new ArrayList<>();
    pending.get().forEach(found::add);
    found.sort(Comparator.comparingLong(each -> each.checkpointId));
    Set<Integer> seen = new HashSet<>();
    found.removeIf(each -> !seen.add(each.internalId));
    return found;
  }

  /** Open the first buffer in which nothing waits. */
  private void open(List<CheckpointIdentifier> waiting) throws Exception {
    Set<Integer> used = new HashSet<>();
    waiting.forEach(each -> used.add(each.internalId));
    open = 0;
    while (used.contains(open)) {
      open++;
    }
    buffer = buffers.get(open);
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

  /** Close the buffer for a checkpoint that is being taken, and open another one. */
  public void checkpoint(long checkpointId) throws Exception {
    List<CheckpointIdentifier> waiting = waiting();
    int closed = waiting.isEmpty() ? open : waiting.get(0).internalId;
    for (CheckpointIdentifier each : waiting) {
      move(each.internalId, closed);
    }
    move(open, closed);
    List<CheckpointIdentifier> now = List.of(new CheckpointIdentifier(closed, checkpointId));
    pending.update(now);
    open(now);
  }

  /** Append the elements of a buffer to another one; each key's keep their order. */
  private void move(int from, int to) throws Exception {
    if (from == to) {
      return;
    }
    try (Locker lock = locker == null ? null : locker.get()) {
      // While a key's elements are walked through it is the current one, of both.
      buffers.get(from).getElements().forEach(buffers.get(to)::buffer);
      buffers.get(from).clear();
    }
  }

  /** Let go what checkpoints up to this one contain, in their order. */
  public void checkpointCompleted(long checkpointId) throws Exception {
    List<CheckpointIdentifier> complete = waiting();
    List<CheckpointIdentifier> remaining = new ArrayList<>(complete);
    complete.removeIf(each -> each.checkpointId > checkpointId);
    remaining.removeAll(complete);
    pending.update(remaining);
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
