{{- /* Suffix of every name. */ -}}
{{- define "refreshd.suffix" -}}
{{- with .Values.instance }}-{{ . }}{{ end }}
{{- end -}}

{{- /* What selects the daemon's pods. */ -}}
{{- define "refreshd.selector" -}}
app.kubernetes.io/name: analytics-refreshd
{{- with .Values.instance }}
app.kubernetes.io/instance: {{ . | quote }}
{{- end }}
{{- end -}}

{{- /* What selects the API's pods. */ -}}
{{- define "refreshd.apiSelector" -}}
app.kubernetes.io/name: analytics-refreshd-api
{{- with .Values.instance }}
app.kubernetes.io/instance: {{ . | quote }}
{{- end }}
{{- end -}}

{{- define "refreshd.labels" -}}
{{ include "refreshd.selector" . }}
app.kubernetes.io/part-of: analytics-refreshd
{{- end -}}

{{- define "refreshd.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{- /* The first lines of every pod's specification. */ -}}
{{- define "refreshd.pod" -}}
serviceAccountName: analytics-refreshd{{ include "refreshd.suffix" . }}
# Leaders are elected in PostgreSQL: the pods never talk to the Kubernetes API.
automountServiceAccountToken: false
# Service links would put variables named ANALYTICS_REFRESHD_… into the pod, and unknown ones are refused.
enableServiceLinks: false
# The daemon gives itself 10 s to cancel the refresh and to hand over; the rest is margin.
terminationGracePeriodSeconds: 30
{{- end -}}

{{- /* Pods of one Deployment, which these labels select, on different machines where that is possible. */ -}}
{{- define "refreshd.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- . | nindent 8 }}
    matchLabelKeys:
      - pod-template-hash
{{- end -}}

{{- /* At the port of this name. Liveness never depends on the database: one that is away must not restart the pods. */ -}}
{{- define "refreshd.probes" -}}
startupProbe:
  httpGet:
    path: /livez
    port: {{ . }}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 30
livenessProbe:
  httpGet:
    path: /livez
    port: {{ . }}
  periodSeconds: 10
  timeoutSeconds: 2
  failureThreshold: 3
readinessProbe:
  httpGet:
    path: /readyz
    port: {{ . }}
  periodSeconds: 5
  timeoutSeconds: 2
  failureThreshold: 3
{{- end -}}

{{- /* The rule that lets a pod look up names. */ -}}
{{- define "refreshd.names" -}}
- to:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: kube-system
  ports:
    - protocol: UDP
      port: 53
    - protocol: TCP
      port: 53
{{- end -}}

{{- define "refreshd.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- /* The environment of every container. */ -}}
{{- define "refreshd.env" -}}
- name: ANALYTICS_REFRESHD_CONFIG
  value: /etc/analytics-refreshd/config/config.toml
- name: ANALYTICS_REFRESHD_DATABASE__PASSWORD_FILE
  value: /etc/analytics-refreshd/secret/password
{{- end -}}

{{- /* The last lines of every container. */ -}}
{{- define "refreshd.container" -}}
resources:
  requests:
    cpu: 10m
    memory: 96Mi
    ephemeral-storage: 16Mi
  limits:
    memory: 256Mi
    ephemeral-storage: 64Mi
{{ include "refreshd.confined" . }}
{{- end -}}

{{- /* The same without its resources. */ -}}
{{- define "refreshd.confined" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  capabilities:
    drop:
      - ALL
  seccompProfile:
    type: RuntimeDefault
volumeMounts:
  - name: config
    mountPath: /etc/analytics-refreshd/config
    readOnly: true
  - name: ca
    mountPath: /etc/analytics-refreshd/ca
    readOnly: true
  - name: password
    mountPath: /etc/analytics-refreshd/secret
    readOnly: true
  - name: tmp
    mountPath: /tmp
{{- end -}}

{{- /* Volumes of root `.root`; `.keys` are the Secret's keys that are not all there is, with their files; `.tmp` its size. */ -}}
{{- define "refreshd.volumes" -}}
- name: config
  configMap:
    name: analytics-refreshd-config{{ include "refreshd.suffix" .root }}
- name: ca
  configMap:
    name: analytics-refreshd-ca{{ include "refreshd.suffix" .root }}
- name: password
  secret:
    secretName: {{ .root.Values.passwordSecret | default (print "analytics-refreshd-password" (include "refreshd.suffix" .root)) }}
    defaultMode: 288 # 0440 in octal
    {{- with .keys }}
    items:
      {{- range $key, $file := . }}
      - key: {{ $key }}
        path: {{ $file }}
      {{- end }}
    {{- end }}
- name: tmp
  emptyDir:
    sizeLimit: {{ .tmp | default "16Mi" }}
{{- end -}}

{{- /* A CronJob: root, name, schedule, late (s), deadline (s), args, and where needed env and keys. */ -}}
{{- define "refreshd.job" -}}
apiVersion: batch/v1
kind: CronJob
metadata:
  name: analytics-refreshd-{{ .name }}{{ include "refreshd.suffix" .root }}
  labels:
    {{- include "refreshd.labels" .root | nindent 4 }}
spec:
  schedule: {{ .schedule | quote }}
  timeZone: Etc/UTC
  # One run at a time; the lock in the database holds even where this does not.
  concurrencyPolicy: Forbid
  startingDeadlineSeconds: {{ .late }}
  successfulJobsHistoryLimit: 3
  failedJobsHistoryLimit: 5
  jobTemplate:
    {{- with .root.Values.instance }}
    metadata:
      labels:
        app.kubernetes.io/instance: {{ . | quote }}
    {{- end }}
    spec:
      # The next slot is the retry.
      backoffLimit: 0
      activeDeadlineSeconds: {{ .deadline }}
      ttlSecondsAfterFinished: 86400
      template:
        metadata:
          labels:
            # A name of its own: the daemon's budget and Service select the daemon's pods by theirs.
            app.kubernetes.io/name: analytics-refreshd-{{ .name }}
            {{- with .root.Values.instance }}
            app.kubernetes.io/instance: {{ . | quote }}
            {{- end }}
            app.kubernetes.io/part-of: analytics-refreshd
        spec:
          restartPolicy: Never
          {{- include "refreshd.pod" .root | nindent 10 }}
          securityContext:
            {{- include "refreshd.podSecurity" .root | nindent 12 }}
          containers:
            - name: analytics-refreshd
              image: {{ include "refreshd.image" .root }}
              imagePullPolicy: IfNotPresent
              args:
                {{- toYaml .args | nindent 16 }}
              env:
                {{- include "refreshd.env" .root | nindent 16 }}
                {{- with .env }}
                {{- toYaml . | nindent 16 }}
                {{- end }}
              {{- include "refreshd.container" .root | nindent 14 }}
          volumes:
            {{- include "refreshd.volumes" (dict "root" .root "keys" .keys) | nindent 12 }}
{{- end -}}
