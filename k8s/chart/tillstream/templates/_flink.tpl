{{- define "tillstream.flinkConfiguration" -}}
{{- $name := include "tillstream.name" . -}}
{{- $storage := include "tillstream.storage" . -}}
taskmanager.numberOfTaskSlots: {{ .Values.taskManager.slots | quote }}
# Python's memory and RocksDB's lie outside of the JVM's heap, in the same container.
taskmanager.memory.task.off-heap.size: {{ include "tillstream.outsideMb" . }}m
taskmanager.memory.managed.size: {{ include "tillstream.managedMb" . }}m
# As shares of the whole these would grow with what is Python's.
taskmanager.memory.network.min: 128m
taskmanager.memory.network.max: 128m
taskmanager.memory.jvm-overhead.min: 192m
taskmanager.memory.jvm-overhead.max: 192m
taskmanager.memory.jvm-metaspace.size: 256m
# A bundle's batches leave the reading stage at once.
taskmanager.network.memory.floating-buffers-per-gate: "1024"
taskmanager.network.memory.max-buffers-per-channel: "1024"
taskmanager.rpc.port: "6122"
kubernetes.taskmanager.service-account: {{ $name }}-worker
state.checkpoints.dir: {{ $storage }}/checkpoints
state.savepoints.dir: {{ $storage }}/savepoints
state.checkpoints.num-retained: "3"
# What a stage of an idle job keeps goes into the checkpoint's own file, not one beside it.
state.storage.fs.memory-threshold: 64kb
execution.checkpointing.externalized-checkpoint-retention: RETAIN_ON_CANCELLATION
high-availability.type: kubernetes
high-availability.storageDir: {{ $storage }}/ha
high-availability.jobmanager.port: "6123"
# A far side that is down for an hour costs an hour, not the job.
restart-strategy.type: exponential-delay
restart-strategy.exponential-delay.initial-backoff: 1 s
restart-strategy.exponential-delay.max-backoff: 1 min
restart-strategy.exponential-delay.backoff-multiplier: "1.5"
restart-strategy.exponential-delay.reset-backoff-threshold: 10 min
restart-strategy.exponential-delay.jitter-factor: "0.1"
metrics.reporter.prom.factory.class: org.apache.flink.metrics.prometheus.PrometheusReporterFactory
metrics.reporter.prom.port: {{ .Values.network.monitoring.port | quote }}
kubernetes.operator.cluster.health-check.enabled: "true"
kubernetes.operator.cluster.health-check.checkpoint-progress.enabled: "true"
kubernetes.operator.cluster.health-check.checkpoint-progress.window: 10 min
kubernetes.operator.savepoint.history.max.count: {{ .Values.savepoints.countMax | quote }}
{{- with .Values.savepoints.interval }}
kubernetes.operator.periodic.savepoint.interval: {{ . }}
{{- end }}
# An older jar has an older generation, whose writers the sinks refuse: going back is a launch of its own.
kubernetes.operator.deployment.rollback.enabled: "false"
# Ticks tell it nothing about backlog, and writers know their parallelism from the launch.
job.autoscaler.enabled: "false"
{{- end -}}

{{- /* Flink's own also writes files, up to 1 GB of them, which would fill the log folder and evict the pod. */}}
{{- define "tillstream.log4j" -}}
rootLogger.level = INFO
rootLogger.appenderRef.console.ref = console

appender.console.name = console
appender.console.type = CONSOLE
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{yyyy-MM-dd HH:mm:ss,SSS} %-5p %-60c %x - %m%n

# At DEBUG the Beam runner renders each element: gigabytes in minutes.
logger.beam.name = org.apache.beam
logger.beam.level = INFO

# Each client that is made prints its whole configuration.
logger.kafkaconfig.name = org.apache.kafka.common.config.AbstractConfig
logger.kafkaconfig.level = WARN
{{ end -}}
