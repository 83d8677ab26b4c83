{{- /* What both kinds of pods share; each has its own service account, by the operator. */ -}}
{{- define "tillstream.podSpec" -}}
automountServiceAccountToken: true
enableServiceLinks: false
terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  # Flink's own user in its images.
  runAsUser: 9999
  runAsGroup: 9999
  fsGroup: 9999
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{- define "tillstream.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "tillstream.mounts" -}}
- name: job
  mountPath: /opt/flink/usrlib/job.jar
  subPath: job.jar
  readOnly: true
- name: log
  mountPath: /opt/flink/log
- name: tmp
  mountPath: /tmp
{{- if .Values.storage.claim }}
# The client's own folder: what other clients keep in the same claim is out of its sight.
- name: storage
  mountPath: {{ include "tillstream.storage" . | trimPrefix "file://" }}
  subPath: {{ include "tillstream.name" . }}
{{- end }}
{{- end -}}

{{- define "tillstream.volumes" -}}
- name: job
  configMap:
    name: {{ include "tillstream.jobName" . }}
    defaultMode: 0444
- name: log
  emptyDir:
    sizeLimit: 256Mi
- name: tmp
  emptyDir:
    sizeLimit: {{ .Values.taskManager.temporaryMb }}Mi
{{- if .Values.storage.claim }}
- name: storage
  persistentVolumeClaim:
    claimName: {{ .Values.storage.claim }}
{{- end }}
{{- end -}}

{{- define "tillstream.placing" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "tillstream.jobManagerPod" -}}
metadata:
  labels:
    {{- include "tillstream.labels" . | nindent 4 }}
spec:
  {{- include "tillstream.podSpec" . | nindent 2 }}
  {{- include "tillstream.placing" .Values.jobManager | nindent 2 }}
  containers:
    - name: flink-main-container
      securityContext:
        {{- include "tillstream.containerSecurity" . | nindent 8 }}
      {{- with .Values.jobManager.env }}
      env:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - name: metrics
          containerPort: {{ .Values.network.monitoring.port }}
      livenessProbe:
        # A standby JobManager answers too. The operator adds a startup probe.
        httpGet:
          path: /config
          port: 8081
        periodSeconds: 20
        timeoutSeconds: 10
        failureThreshold: 6
      volumeMounts:
        {{- include "tillstream.mounts" . | nindent 8 }}
  volumes:
    {{- include "tillstream.volumes" . | nindent 4 }}
{{- end -}}

{{- define "tillstream.taskManagerPod" -}}
metadata:
  labels:
    {{- include "tillstream.labels" . | nindent 4 }}
spec:
  {{- include "tillstream.podSpec" . | nindent 2 }}
  {{- include "tillstream.placing" .Values.taskManager | nindent 2 }}
  {{- with .Values.spread.keys }}
  topologySpreadConstraints:
    {{- range . }}
    - topologyKey: {{ . }}
      maxSkew: 1
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "tillstream.selector" $ | nindent 10 }}
          component: taskmanager
    {{- end }}
  {{- end }}
  containers:
    - name: flink-main-container
      securityContext:
        {{- include "tillstream.containerSecurity" . | nindent 8 }}
      env:
        - name: TILLSTREAM_SECRETS_DIR
          value: /run/tillstream/secrets
        - name: TILLSTREAM_FLIGHTS_DIR
          value: /tmp/tillstream-flights
        {{- with .Values.taskManager.env }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        - name: metrics
          containerPort: {{ .Values.network.monitoring.port }}
      livenessProbe:
        tcpSocket:
          port: 6122
        initialDelaySeconds: 60
        periodSeconds: 20
        timeoutSeconds: 10
        failureThreshold: 6
      volumeMounts:
        {{- include "tillstream.mounts" . | nindent 8 }}
        {{- if .Values.client.secrets }}
        # The folder, not its files: so it follows the Secret, and new connections log in with what is new.
        - name: secrets
          mountPath: /run/tillstream/secrets/{{ .Values.client.name }}
          readOnly: true
        {{- end }}
        {{- range $name, $_ := .Values.job.files }}
        - name: job
          mountPath: /opt/tillstream/files/{{ $name }}
          subPath: {{ $name }}
          readOnly: true
        {{- end }}
        {{- range .Values.client.folders }}
        - name: sink-{{ .sink | replace "_" "-" }}
          mountPath: {{ .path }}
          subPath: {{ include "tillstream.name" $ }}/{{ .sink }}
        {{- end }}
  volumes:
    {{- include "tillstream.volumes" . | nindent 4 }}
    {{- if .Values.client.secrets }}
    - name: secrets
      secret:
        secretName: {{ include "tillstream.secretName" . }}
        # Read through the group, fsGroup.
        defaultMode: 0440
        items:
          {{- range .Values.client.secrets }}
          - key: {{ . }}
            path: {{ . }}
          {{- end }}
    {{- end }}
    {{- range .Values.client.folders }}
    - name: sink-{{ .sink | replace "_" "-" }}
      persistentVolumeClaim:
        claimName: {{ required (printf "claims: found none of sink %s, expected the PersistentVolumeClaim of its files" .sink) (get $.Values.claims .sink) }}
    {{- end }}
{{- end -}}
