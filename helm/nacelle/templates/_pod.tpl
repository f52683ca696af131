{{/* The pod of a pool: the server's, and the tuning Job's beside it. */}}

{{/* Variables of every container that is ours: a proxy or an authority of the cluster's own concerns the fetching, too. */}}
{{- define "nacelle.env" -}}
env:
  - {name: HOME, value: /tmp}
  - {name: HF_HOME, value: /models}
  - {name: XDG_CACHE_HOME, value: /models/tuning/{{ .pool.nodeType | default .pool.name }}}
{{- with .pool.model.hf.endpoint }}
  - {name: HF_ENDPOINT, value: {{ . | quote }}}
{{- end }}
{{- if and .offline (include "nacelle.isFetched" .pool) }}
  - {name: HF_HUB_OFFLINE, value: "1"}
{{- end }}
{{- if not .offline }}
{{- with .pool.model.hf.tokenSecret }}
{{- if .name }}
  - name: HF_TOKEN
    valueFrom:
      secretKeyRef: {name: {{ .name }}, key: {{ .key }}}
{{- end }}
{{- end }}
{{- end }}
{{- with .pool.extraEnv }}
{{ toYaml . | indent 2 }}
{{- end }}
{{- with .pool.extraEnvFrom }}
envFrom:
{{ toYaml . | indent 2 }}
{{- end }}
{{- end }}

{{- define "nacelle.mounts" -}}
- {name: models, mountPath: /models}
- {name: tmp, mountPath: /tmp}
- {name: config, mountPath: /etc/nacelle/config, readOnly: true}
{{- if or (eq .pool.model.source "pvc") (eq .pool.model.source "oci") }}
- {name: model, mountPath: /model, readOnly: true}
{{- end }}
{{- if .root.Values.auth.secret }}
- {name: auth, mountPath: /etc/nacelle/auth, readOnly: true}
{{- end }}
{{- if .root.Values.tls.secret }}
- {name: tls, mountPath: /etc/nacelle/tls, readOnly: true}
{{- end }}
{{- with .pool.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "nacelle.volumes" -}}
{{- $cache := .root.Values.cache -}}
{{- $claim := include "nacelle.claim" . -}}
- name: models
  {{- if $claim }}
  persistentVolumeClaim: {claimName: {{ $claim }}}
  {{- else if eq $cache.type "perPod" }}
  ephemeral:
    volumeClaimTemplate:
      spec:
        {{- include "nacelle.claimSpec" (dict "cache" $cache "mode" "ReadWriteOnce") | nindent 8 }}
  {{- else }}
  emptyDir: {sizeLimit: {{ $cache.size }}}
  {{- end }}
- name: tmp
  emptyDir: {sizeLimit: 256Mi}
- name: config
  configMap: {name: {{ .pool.fullname }}}
{{- if eq .pool.model.source "pvc" }}
- name: model
  persistentVolumeClaim: {claimName: {{ .pool.model.pvc.claim }}, readOnly: true}
{{- else if eq .pool.model.source "oci" }}
- name: model
  image: {reference: {{ .pool.model.oci.reference | quote }}, pullPolicy: {{ .root.Values.image.pullPolicy }}}
{{- end }}
{{- if .root.Values.auth.secret }}
- name: auth
  secret: {secretName: {{ .root.Values.auth.secret }}}
{{- end }}
{{- if .root.Values.tls.secret }}
- name: tls
  secret: {secretName: {{ .root.Values.tls.secret }}}
{{- end }}
{{- with .pool.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Fetches the model before the server starts, and checks it; what lies in the cache is not fetched again. */}}
{{- define "nacelle.pull" -}}
- name: pull
  image: {{ include "nacelle.image" . | quote }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  args:
    - pull
    - {{ include "nacelle.modelSource" .pool | quote }}
    {{- if eq .pool.model.source "http" }}
    - --sha256
    - {{ .pool.model.http.sha256 | quote }}
    {{- end }}
  {{- include "nacelle.env" . | nindent 2 }}
  volumeMounts:
    - {name: models, mountPath: /models}
    - {name: tmp, mountPath: /tmp}
    {{- with .pool.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  resources:
    requests: {cpu: 100m, memory: 64Mi}
    limits: {memory: 512Mi}
  securityContext:
    {{- include "nacelle.containerSecurity" . | nindent 4 }}
{{- end }}

{{/* Where the pool's pods may lie. */}}
{{- define "nacelle.placing" -}}
{{- $nodes := .pool.nodeFeatures | ternary .pool.facts.nodes list -}}
{{- $affinity := deepCopy .pool.affinity -}}
{{- if and $nodes (not (dig "nodeAffinity" "requiredDuringSchedulingIgnoredDuringExecution" nil $affinity)) -}}
  {{- $terms := list -}}
  {{- range $nodes -}}
    {{- $terms = append $terms (dict "matchExpressions" (list (dict "key" . "operator" "In" "values" (list "true")))) -}}
  {{- end -}}
  {{- $required := dict "requiredDuringSchedulingIgnoredDuringExecution" (dict "nodeSelectorTerms" $terms) -}}
  {{- $affinity = merge $affinity (dict "nodeAffinity" $required) -}}
{{- end -}}
{{- $tolerations := .pool.tolerations -}}
{{- with .pool.facts.taint -}}
  {{- $tolerations = append $tolerations (dict "key" . "operator" "Exists" "effect" "NoSchedule") -}}
{{- end -}}
nodeSelector:
  kubernetes.io/os: linux
  {{- with .pool.nodeSelector }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .pool.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .pool.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "nacelle.securityContext" -}}
{{ include "nacelle.podSecurity" . }}
{{- with (kindIs "invalid" .pool.deviceGroups | ternary .pool.facts.groups .pool.deviceGroups) }}
supplementalGroups: {{ toJson . }}
{{- end }}
{{- end }}
