package org.apache.beam.runners.flink.translation.functions;

import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentMap;
import org.apache.beam.model.pipeline.v1.RunnerApi.StandardEnvironments.Environments;
import org.apache.beam.runners.fnexecution.control.DefaultJobBundleFactory;
import org.apache.beam.runners.fnexecution.control.ExecutableStageContext;
import org.apache.beam.runners.fnexecution.control.JobBundleFactory;
import org.apache.beam.runners.fnexecution.control.ReferenceCountingExecutableStageContextFactory;
import org.apache.beam.runners.fnexecution.control.StageBundleFactory;
import org.apache.beam.runners.fnexecution.environment.ProcessEnvironmentFactory;
import org.apache.beam.runners.fnexecution.provisioning.JobInfo;
import org.apache.beam.sdk.fn.server.ServerFactory;
import org.apache.beam.sdk.options.PipelineOptions;
import org.apache.beam.sdk.util.construction.BeamUrns;
import org.apache.beam.sdk.util.construction.PipelineOptionsTranslation;
import org.apache.beam.sdk.util.construction.graph.ExecutableStage;
import org.apache.flink.api.common.ExecutionConfig;
import tillstream.flink.LoopbackServerFactory;

/**
 * Give each job of a TaskManager what its stages run their bundles by: harnesses, and the servers that those
 * talk to.
 *
 * <p>This takes the place of Beam 2.62's class of the same name, whose servers listen on every interface; see
 * {@link LoopbackServerFactory}. Harnesses are processes, the one environment that our templates have.
 */
public final class FlinkExecutableStageContextFactory implements ExecutableStageContext.Factory {

  // That of Beam's class: operators hold it, and so do the graphs of jobs that a JobManager takes up again.
  private static final long serialVersionUID = -7726046364730187688L;

  private static final FlinkExecutableStageContextFactory INSTANCE = new FlinkExecutableStageContextFactory();
  private static final ConcurrentMap<String, ExecutableStageContext.Factory> OF_JOBS = new ConcurrentHashMap<>();

  private FlinkExecutableStageContextFactory() {}

  public static FlinkExecutableStageContextFactory getInstance() {
    return INSTANCE;
  }

  @Override
  public ExecutableStageContext get(JobInfo job) {
    return OF_JOBS
        .computeIfAbsent(
            job.jobId(),
            id ->
                ReferenceCountingExecutableStageContextFactory.create(
                    Context::new,
                    // Classes that came with a job's jar are gone soon after it: what they hold ends with it.
                    caller ->
                        caller.getClass().getClassLoader() != ExecutionConfig.class.getClassLoader()))
        .get(job);
  }

  private static final class Context implements ExecutableStageContext {

    private final JobBundleFactory bundles;

    Context(JobInfo job) {
      PipelineOptions options = PipelineOptionsTranslation.fromProto(job.pipelineOptions());
      bundles =
          DefaultJobBundleFactory.create(
              job, Map.of(BeamUrns.getUrn(Environments.PROCESS), new Processes(options)));
    }

    @Override
    public StageBundleFactory getStageBundleFactory(ExecutableStage stage) {
      return bundles.forStage(stage);
    }

    @Override
    public void close() throws Exception {
      bundles.close();
    }
  }

  private static final class Processes extends ProcessEnvironmentFactory.Provider {

    Processes(PipelineOptions options) {
      super(options);
    }

    @Override
    public ServerFactory getServerFactory() {
      return new LoopbackServerFactory();
    }
  }
}
