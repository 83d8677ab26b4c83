{{- define "tillstream.name" -}}
{{- required "client.resource: found none, expected values of 'tillstream k8s render'" .Values.client.resource -}}
{{- end -}}

{{- define "tillstream.selector" -}}
tillstream.dev/client: {{ include "tillstream.name" . }}
{{- end -}}

{{- define "tillstream.labels" -}}
{{ include "tillstream.selector" . }}
app.kubernetes.io/name: tillstream
app.kubernetes.io/instance: {{ include "tillstream.name" . }}
app.kubernetes.io/managed-by: tillstream
{{- with .Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "tillstream.metadata" -}}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "tillstream.labels" . | nindent 2 }}
{{- end -}}

{{- /* Immutable and named by content, so that an older FlinkDeployment finds its own. */ -}}
{{- define "tillstream.jobName" -}}
{{ include "tillstream.name" . }}-job-{{ required "job.digest: found none, expected values of 'tillstream k8s render'" .Values.job.digest }}
{{- end -}}

{{- define "tillstream.storage" -}}
{{ required "storage.dir: found none, expected where checkpoints lie, such as s3://bucket/folder" .Values.storage.dir | trimSuffix "/" }}/{{ include "tillstream.name" . }}
{{- end -}}

{{- define "tillstream.secretName" -}}
{{ .Values.secret.name | default (printf "%s-secrets" (include "tillstream.name" .)) }}
{{- end -}}

{{- /* No stage takes any; Flink wants a size, since a share of the whole would grow with the rest. */ -}}
{{- define "tillstream.managedMb" -}}
64
{{- end -}}

{{- /* Memory outside of the JVM: 120 of what Python's processes are forked from, these, and RocksDB. */ -}}
{{- define "tillstream.outsideMb" -}}
{{- $python := mul .Values.job.processes (.Values.job.memoryMb | default .Values.taskManager.pythonMemoryMb) -}}
{{ add 120 $python (mul .Values.taskManager.slots .Values.job.rocksdbMemoryMb) }}
{{- end -}}

{{- /* Peers of a host: as values say, else what its name tells. Takes {root, endpoint}. */ -}}
{{- define "tillstream.egress" -}}
{{- $peers := .root.Values.network.peers -}}
{{- $host := .endpoint.host -}}
{{- $known := get $peers $host -}}
{{- if $known -}}
to:
  {{- toYaml $known.to | nindent 2 }}
{{- else if regexMatch "^[0-9]+(\\.[0-9]+){3}$" $host -}}
to:
  - ipBlock:
      cidr: {{ $host }}/32
{{- else if regexMatch "^[^.]+(\\.[^.]+)+\\.svc(\\.|$)" $host -}}
to:
  - namespaceSelector:
      matchLabels:
        kubernetes.io/metadata.name: {{ regexReplaceAll "^.*\\.([^.]+)\\.svc(\\..*)?$" $host "${1}" }}
{{- else -}}
{{- fail (printf "network.peers: found nothing for %s of %s, expected where it is, such as {%q: {to: [{ipBlock: {cidr: 10.0.0.0/24}}]}}" $host .endpoint.name $host) -}}
{{- end }}
ports:
  {{- range (get ($known | default dict) "ports") | default .endpoint.ports }}
  - protocol: TCP
    port: {{ . }}
  {{- end }}
{{- end -}}
