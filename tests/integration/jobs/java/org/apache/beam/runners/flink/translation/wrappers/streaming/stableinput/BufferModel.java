package org.apache.beam.runners.flink.translation.wrappers.streaming.stableinput;

import java.lang.reflect.InvocationHandler;
import java.lang.reflect.Proxy;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import org.apache.beam.runners.core.DoFnRunner;
import org.apache.beam.runners.core.construction.SerializablePipelineOptions;
import org.apache.beam.sdk.coders.VarLongCoder;
import org.apache.beam.sdk.options.PipelineOptionsFactory;
import org.apache.beam.sdk.transforms.windowing.GlobalWindow;
import org.apache.beam.sdk.util.WindowedValue;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.StateDescriptor;
import org.apache.flink.runtime.state.KeyedStateBackend;
import org.apache.flink.runtime.state.OperatorStateBackend;

/**
 * Play a stage with stable input through checkpoints, aborted ones, completions that are not heard of, a sink
 * that fails, restarts, and restarts with another number of subtasks; by seed.
 *
 * <p>The sink knows each key's last number, as the ledger does. It refuses gaps, and what leaves before the
 * checkpoint that holds it is complete.
 */
@SuppressWarnings({"rawtypes", "unchecked"})
public class BufferModel {
  private static final int KEYS = 8;
  private static final int STEPS = 60;
  private static final int LINES_MAX = 100_000;
  private static final SerializablePipelineOptions OPTIONS =
      new SerializablePipelineOptions(PipelineOptionsFactory.create());

  private final Random dice;
  private final int[] sent = new int[KEYS];
  private final int[] stable = new int[KEYS];
  private final int[] written = new int[KEYS];
  private boolean isAway;
  private List<Task> tasks = new ArrayList<>();
  private State saved;
  private int[] savedAt;
  private long checkpoint;

  BufferModel(long seed) {
    this.dice = new Random(seed);
  }

  /** What a subtask keeps, or all of them have kept in a checkpoint. */
  private static class State {
    final Map<String, TreeMap<Integer, List<Object>>> keyed = new HashMap<>();
    List<Object> pending = new ArrayList<>();

    void add(State other, int from, int to) {
      other.keyed.forEach(
          (name, keys) ->
              keys.subMap(from, to)
                  .forEach((key, held) -> table(name).put(key, new ArrayList<>(held))));
      pending.addAll(other.pending);
    }

    TreeMap<Integer, List<Object>> table(String name) {
      return keyed.computeIfAbsent(name, each -> new TreeMap<>());
    }
  }

  private class Task {
    final State state;
    final BufferingDoFnRunner runner;
    Object key;

    Task(State state) throws Exception {
      this.state = state;
      this.runner =
          BufferingDoFnRunner.create(
              fake(DoFnRunner.class, (self, method, given) -> write(method.getName(), given)),
              "buffer",
              VarLongCoder.of(),
              GlobalWindow.Coder.INSTANCE,
              fake(OperatorStateBackend.class, (self, method, given) -> pending()),
              fake(KeyedStateBackend.class, (self, method, given) -> keyed(method.getName(), given)),
              1,
              OPTIONS,
              null,
              value -> keyOf((Long) value),
              null);
    }

    private Object keyed(String method, Object[] given) {
      if (method.equals("setCurrentKey")) {
        key = given[0];
        return null;
      }
      if (method.equals("getKeys")) {
        return new ArrayList<Object>(state.table((String) given[0]).keySet()).stream();
      }
      TreeMap<Integer, List<Object>> table = state.table(((StateDescriptor) given[2]).getName());
      return fake(
          ListState.class,
          (self, called, with) -> {
            switch (called.getName()) {
              case "add":
                table.computeIfAbsent((Integer) key, each -> new ArrayList<>()).add(with[0]);
                return null;
              case "clear":
                table.remove(key);
                return null;
              default:
                return new ArrayList<>(table.getOrDefault(key, List.of()));
            }
          });
    }

    private ListState pending() {
      return fake(
          ListState.class,
          (self, called, with) -> {
            if (called.getName().equals("get")) {
              return new ArrayList<>(state.pending);
            }
            List<Object> now = called.getName().equals("add") ? state.pending : new ArrayList<>();
            now.addAll(called.getName().equals("add") ? List.of(with[0]) : (List<Object>) with[0]);
            state.pending = now;
            return null;
          });
    }
  }

  private static <T> T fake(Class<T> type, InvocationHandler handler) {
    return (T) Proxy.newProxyInstance(type.getClassLoader(), new Class[] {type}, handler);
  }

  private static int keyOf(long value) {
    return (int) (value >> 32);
  }

  private Object write(String method, Object[] given) {
    if (!method.equals("processElement")) {
      return null;
    }
    long value = (Long) ((WindowedValue) given[0]).getValue();
    int key = keyOf(value);
    int number = (int) value;
    if (isAway) {
      throw new IllegalStateException("the sink is away");
    }
    if (number > stable[key] || number > written[key] + 1) {
      throw new AssertionError(
          "key " + key + ": " + number + " behind " + written[key] + ", stable up to " + stable[key]);
    }
    written[key] = Math.max(written[key], number);
    return null;
  }

  private void start(int count) throws Exception {
    tasks = new ArrayList<>();
    for (int subtask = 0; subtask < count; subtask++) {
      State own = new State();
      if (saved != null) {
        own.add(saved, (subtask * KEYS + count - 1) / count, ((subtask + 1) * KEYS + count - 1) / count);
      }
      tasks.add(new Task(own));
    }
    if (saved != null) {
      System.arraycopy(savedAt, 0, sent, 0, KEYS);
    }
  }

  private void send(int many) {
    for (int index = 0; index < many; index++) {
      int key = dice.nextInt(KEYS);
      long value = ((long) key << 32) | ++sent[key];
      tasks.get(key * tasks.size() / KEYS).runner.processElement(WindowedValue.valueInGlobalWindow(value));
    }
  }

  private void save() throws Exception {
    State taken = new State();
    for (Task task : tasks) {
      task.runner.checkpoint(checkpoint);
      taken.add(task.state, 0, KEYS);
    }
    if (taken.pending.size() > LINES_MAX) {
      throw new AssertionError("closed buffers: found " + taken.pending.size());
    }
    saved = taken;
    savedAt = sent.clone();
    System.arraycopy(sent, 0, stable, 0, KEYS);
  }

  /** Tell most subtasks that the checkpoint is complete; return whether all went on. */
  private boolean complete(int deafOneIn) throws Exception {
    boolean goesOn = true;
    for (Task task : tasks) {
      if (deafOneIn == 0 || dice.nextInt(deafOneIn) > 0) {
        try {
          task.runner.checkpointCompleted(checkpoint);
        } catch (IllegalStateException away) {
          goesOn = false;
        }
      }
    }
    return goesOn;
  }

  private void play() throws Exception {
    start(1 + dice.nextInt(3));
    for (int step = 0; step < STEPS; step++, checkpoint++) {
      send(dice.nextInt(6));
      int what = dice.nextInt(10);
      isAway = dice.nextInt(4) == 0;
      boolean goesOn = true;
      if (what < 2) {
        // Aborted when some had taken it.
        for (Task task : tasks) {
          if (dice.nextBoolean()) {
            task.runner.checkpoint(checkpoint);
          }
        }
      } else if (what < 8 || saved == null) {
        save();
        goesOn = complete(6);
      } else {
        goesOn = false;
      }
      if (!goesOn) {
        start(dice.nextInt(3) == 0 ? 1 + dice.nextInt(3) : tasks.size());
      }
    }
    isAway = false;
    for (int round = 0; round < 2; round++, checkpoint++) {
      save();
      complete(0);
    }
    for (int key = 0; key < KEYS; key++) {
      if (written[key] != sent[key]) {
        throw new AssertionError("key " + key + ": written " + written[key] + " of " + sent[key]);
      }
    }
  }

  public static void main(String[] arguments) throws Exception {
    int seeds = Integer.parseInt(arguments[0]);
    int wrong = 0;
    for (long seed = 0; seed < seeds; seed++) {
      try {
        new BufferModel(seed).play();
      } catch (AssertionError error) {
        wrong++;
        System.out.println("seed " + seed + ": " + error.getMessage());
      }
    }
    System.out.println(wrong + " of " + seeds + " wrong");
  }
}
