package tillstream.flink;

import java.io.IOException;
import java.io.InputStream;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.UUID;
import org.apache.beam.model.pipeline.v1.RunnerApi;
import org.apache.beam.runners.flink.FlinkPipelineOptions;
import org.apache.beam.runners.flink.FlinkPortablePipelineTranslator.Executor;
import org.apache.beam.runners.flink.FlinkStreamingPortablePipelineTranslator;
import org.apache.beam.runners.flink.FlinkStreamingPortablePipelineTranslator.StreamingTranslationContext;
import org.apache.beam.runners.fnexecution.provisioning.JobInfo;
import org.apache.beam.runners.jobsubmission.PortablePipelineJarUtils;
import org.apache.beam.sdk.io.FileSystems;
import org.apache.beam.sdk.metrics.MetricsEnvironment;
import org.apache.beam.sdk.options.PipelineOptionsFactory;
import org.apache.beam.sdk.util.construction.PipelineOptionsTranslation;
import org.apache.beam.sdk.util.construction.graph.ExecutableStage;
import org.apache.flink.api.dag.Transformation;
import org.apache.flink.configuration.Configuration;

/**
 * Run the pipeline that lies in this class's own jar: the entry class of every client's job.
 *
 * <p>As Beam's FlinkPipelineRunner, but for Flink's own settings, of which Beam's options know a few only, and
 * for the operators' names, which are those of the steps that they begin with: `TransformChanges` in place of
 * `[4]{TransformChanges, CollectDeadLetters, ...}`. What savepoints find state by is the operators' uids, and
 * stays.
 */
public final class RunTemplate {

  private static final String SETTINGS = "TILLSTREAM/flink.properties";

  private RunTemplate() {}

  public static void main(String[] arguments) throws Exception {
    FileSystems.setDefaultPipelineOptions(PipelineOptionsFactory.create());
    // That is for metrics of stages which run in this process; those of the harness come all the same.
    MetricsEnvironment.setMetricsSupported(false);
    String job = PortablePipelineJarUtils.getDefaultJobName();
    FlinkPipelineOptions options =
        PipelineOptionsTranslation.fromProto(PortablePipelineJarUtils.getPipelineOptionsFromClasspath(job))
            .as(FlinkPipelineOptions.class);
    String name = options.getJobName();
    JobInfo info =
        JobInfo.create(
            name + "_" + UUID.randomUUID(), name, "", PipelineOptionsTranslation.toProto(options));
    FlinkStreamingPortablePipelineTranslator translator = new FlinkStreamingPortablePipelineTranslator();
    StreamingTranslationContext context =
        translator.createTranslationContext(info, options, (String) null, List.of());
    RunnerApi.Pipeline pipeline =
        translator.prepareForTranslation(PortablePipelineJarUtils.getPipelineFromClasspath(job));
    Executor executor = translator.translate(context, pipeline);
    context.getExecutionEnvironment().configure(settings());
    rename(context.getExecutionEnvironment().getTransformations(), names(pipeline));
    executor.execute(name);
  }

  /** Return Flink's settings of this job, which go before those of the cluster; none in older jars. */
  private static Configuration settings() throws IOException {
    Properties read = new Properties();
    try (InputStream content = RunTemplate.class.getClassLoader().getResourceAsStream(SETTINGS)) {
      if (content != null) {
        read.load(content);
      }
    }
    Configuration found = new Configuration();
    read.stringPropertyNames().forEach(each -> found.setString(each, read.getProperty(each)));
    return found;
  }

  /** Return the short name of each operator by its uid, which is the unique name of its transform. */
  static Map<String, String> names(RunnerApi.Pipeline pipeline) throws Exception {
    Map<String, String> found = new HashMap<>();
    Set<String> taken = new LinkedHashSet<>();
    for (String id : pipeline.getRootTransformIdsList()) {
      RunnerApi.PTransform transform = pipeline.getComponents().getTransformsOrThrow(id);
      List<String> heads = heads(transform);
      String name = String.join(", ", shortened(heads));
      // Two steps of one composite.
      found.put(transform.getUniqueName(), taken.add(name) ? name : String.join(", ", heads));
    }
    return found;
  }

  /** Return the unique names of the steps that a stage's elements come to first. */
  private static List<String> heads(RunnerApi.PTransform transform) throws Exception {
    if (!ExecutableStage.URN.equals(transform.getSpec().getUrn())) {
      return List.of(transform.getUniqueName());
    }
    RunnerApi.ExecutableStagePayload stage =
        RunnerApi.ExecutableStagePayload.parseFrom(transform.getSpec().getPayload());
    List<String> found = new ArrayList<>();
    for (String id : stage.getTransformsList()) {
      RunnerApi.PTransform step = stage.getComponents().getTransformsOrThrow(id);
      if (step.getInputsMap().containsValue(stage.getInput())) {
        found.add(step.getUniqueName());
      }
    }
    return found;
  }

  private static Set<String> shortened(List<String> names) {
    Set<String> found = new LinkedHashSet<>();
    names.forEach(each -> found.add(each.split("/", 2)[0]));
    return found;
  }

  private static void rename(List<Transformation<?>> operators, Map<String, String> names) {
    Set<Transformation<?>> all = new LinkedHashSet<>();
    operators.forEach(each -> all.addAll(each.getTransitivePredecessors()));
    for (Transformation<?> each : all) {
      String name = each.getUid() == null ? null : names.get(each.getUid());
      if (name != null) {
        each.setName(name);
        each.setDescription(name);
      }
    }
  }
}
