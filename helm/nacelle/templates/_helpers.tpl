{{/* Names, labels, and what a pool is once the defaults and its vendor have been added. */}}

{{- define "nacelle.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "nacelle.fullname" -}}
{{- $name := include "nacelle.name" . -}}
{{- $default := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- .Values.fullnameOverride | default $default | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "nacelle.selector" -}}
app.kubernetes.io/name: {{ include "nacelle.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The servers alone: neither the picker nor the test pod. */}}
{{- define "nacelle.serverSelector" -}}
{{ include "nacelle.selector" . }}
app.kubernetes.io/component: server
{{- end }}

{{- define "nacelle.labels" -}}
{{ include "nacelle.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- with .Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "nacelle.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "nacelle.fullname" .) -}}
{{- end }}

{{/* What the vendors differ in. `nodes`: labels of Node Feature Discovery (PCI class and vendor) and of the vendors' own
     operators; a node needs one of them. */}}
{{- define "nacelle.vendors" -}}
cpu:
  image: cpu
  device: cpu
  resource: ""
  nodes: []
  taint: ""
  groups: []
nvidia:
  image: cuda
  device: cuda
  resource: nvidia.com/gpu
  nodes: [nvidia.com/gpu.present, feature.node.kubernetes.io/pci-0300_10de.present, feature.node.kubernetes.io/pci-0302_10de.present]
  taint: nvidia.com/gpu
  groups: []
amd:
  image: rocm
  device: rocm
  resource: amd.com/gpu
  nodes: [feature.node.kubernetes.io/amd-gpu, feature.node.kubernetes.io/pci-0300_1002.present, feature.node.kubernetes.io/pci-0380_1002.present, feature.node.kubernetes.io/pci-1200_1002.present]
  taint: amd.com/gpu
  groups: [44, 109]
vulkan:
  image: vulkan
  device: vulkan
  resource: ""
  nodes: [feature.node.kubernetes.io/pci-0300_8086.present, feature.node.kubernetes.io/pci-0380_8086.present, feature.node.kubernetes.io/pci-0300_1002.present, feature.node.kubernetes.io/pci-0300_10de.present]
  taint: ""
  groups: [44, 109]
{{- end }}

{{/* All pools, complete, as {"pools": [...]}. */}}
{{- define "nacelle.pools" -}}
{{- $root := . -}}
{{- $vendors := include "nacelle.vendors" . | fromYaml -}}
{{- $pools := list -}}
{{- $names := dict -}}
{{- range .Values.pools -}}
  {{- if hasKey $names .name -}}{{- fail (printf "pools: two are called '%s'" .name) -}}{{- end -}}
  {{- $_ := set $names .name true -}}
  {{- $pool := mergeOverwrite (deepCopy $root.Values.defaults) (deepCopy .) -}}
  {{- $_ := set $pool "facts" (get $vendors .vendor) -}}
  {{- $_ := set $pool "model" (mergeOverwrite (deepCopy $root.Values.model) (deepCopy (.model | default dict))) -}}
  {{- $_ := set $pool "fullname" (printf "%s-%s" (include "nacelle.fullname" $root) .name) -}}
  {{- include "nacelle.check" (dict "root" $root "pool" $pool) -}}
  {{- $pools = append $pools $pool -}}
{{- end -}}
{{- dict "pools" $pools | toYaml -}}
{{- end }}

{{/* What a schema cannot say. */}}
{{- define "nacelle.check" -}}
{{- $pool := .pool -}}
{{- $model := $pool.model -}}
{{- $at := printf "pool '%s'" $pool.name -}}
{{- if not (or .root.Values.image.repository $pool.image.reference) -}}{{- fail (printf "%s: image.repository is not set: no image of Nacelle is published; build nacelle:%s (`./dev image %s`), push it, and set image.repository, as registry.example.com/nacelle" $at $pool.facts.image $pool.facts.image) -}}{{- end -}}
{{- if has $pool.name (list "manage" "dashboard") -}}{{- fail (printf "%s: the chart has an object of that name already; choose another" $at) -}}{{- end -}}
{{- if and (eq $model.source "hf") (not $model.hf.repository) -}}{{- fail (printf "%s: model.source hf needs model.hf.repository, as Qwen/Qwen2.5-0.5B-Instruct-GGUF" $at) -}}{{- end -}}
{{- if and (eq $model.source "http") (not (and $model.http.url $model.http.sha256)) -}}{{- fail (printf "%s: model.source http needs model.http.url and model.http.sha256" $at) -}}{{- end -}}
{{- if and (eq $model.source "pvc") (not (and $model.pvc.claim $model.pvc.path)) -}}{{- fail (printf "%s: model.source pvc needs model.pvc.claim and model.pvc.path" $at) -}}{{- end -}}
{{- if and (eq $model.source "oci") (not (and $model.oci.reference $model.oci.path)) -}}{{- fail (printf "%s: model.source oci needs model.oci.reference and model.oci.path" $at) -}}{{- end -}}
{{- $scaling := $pool.autoscaling -}}
{{- if and (eq $scaling.type "keda") (eq (int $scaling.min) 0) (not $scaling.gatewayQuery) -}}{{- fail (printf "%s: autoscaling.min 0 needs autoscaling.gatewayQuery: a pool of no pods has no metrics of its own to wake it" $at) -}}{{- end -}}
{{- if and (eq $scaling.type "hpa") (eq (int $scaling.min) 0) -}}{{- fail (printf "%s: autoscaling.min 0 is for keda; an HPA keeps one pod" $at) -}}{{- end -}}
{{- if gt (int $scaling.min) (int $scaling.max) -}}{{- fail (printf "%s: autoscaling.min %d is more than autoscaling.max %d" $at (int $scaling.min) (int $scaling.max)) -}}{{- end -}}
{{- if and (has (toString $pool.rollout.maxSurge) (list "0" "0%")) (has (toString $pool.rollout.maxUnavailable) (list "0" "0%")) -}}{{- fail (printf "%s: rollout.maxSurge and rollout.maxUnavailable are both 0: no pod could ever be replaced" $at) -}}{{- end -}}
{{- if and $pool.gpu.mig (ne $pool.vendor "nvidia") -}}{{- fail (printf "%s: gpu.mig is NVIDIA's" $at) -}}{{- end -}}
{{- if and .root.Values.manage.enabled (not .root.Values.auth.secret) -}}{{- fail "manage.enabled needs auth.secret: who reaches the management listener can load and unload models" -}}{{- end -}}
{{- if and .root.Values.tuning.job (not (has .root.Values.cache.type (list "shared" "perPool"))) -}}{{- fail "tuning.job needs cache.type shared or perPool: what it measures must outlive it" -}}{{- end -}}
{{- if and (eq .root.Values.cache.type "shared") (not .root.Values.cache.existingClaim) (not .root.Values.cache.size) -}}{{- fail "cache.type shared needs cache.size or cache.existingClaim" -}}{{- end -}}
{{- end }}

{{- define "nacelle.image" -}}
{{- $version := .root.Values.image.version -}}
{{- $tag := empty $version | not | ternary (printf "%s-%s" .pool.facts.image $version) .pool.facts.image -}}
{{- .pool.image.reference | default (printf "%s:%s" .root.Values.image.repository $tag) -}}
{{- end }}

{{/* The resource's name and count, where the vendor has one. */}}
{{- define "nacelle.gpuResource" -}}
{{- if .gpu.mig -}}nvidia.com/mig-{{ .gpu.mig }}{{- else -}}{{ .gpu.resource | default .facts.resource }}{{- end -}}
{{- end }}

{{- define "nacelle.resources" -}}
{{- $resources := deepCopy .resources -}}
{{- $name := include "nacelle.gpuResource" . -}}
{{- if $name -}}
  {{- $_ := set $resources "limits" (merge ($resources.limits | default dict) (dict $name (int .gpu.count))) -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end }}

{{/* As --model names it. Empty: the demo model. */}}
{{- define "nacelle.modelSource" -}}
{{- $m := .model -}}
{{- if eq $m.source "hf" -}}
hf:{{ $m.hf.repository }}{{ ne $m.hf.revision "main" | ternary (printf "@%s" $m.hf.revision) "" }}{{ with $m.hf.file }}:{{ . }}{{ end }}
{{- else if eq $m.source "http" -}}
{{ $m.http.url }}
{{- else if or (eq $m.source "pvc") (eq $m.source "oci") -}}
/model/{{ (eq $m.source "pvc" | ternary $m.pvc.path $m.oci.path) | trimPrefix "/" }}
{{- end -}}
{{- end }}

{{- define "nacelle.modelArgument" -}}
{{- $source := include "nacelle.modelSource" . -}}
{{- if $source -}}{{ with .model.name }}{{ . }}={{ end }}{{ $source }}{{- end -}}
{{- end }}

{{- define "nacelle.isFetched" -}}
{{- if has .model.source (list "hf" "http") -}}yes{{- end -}}
{{- end }}

{{/* The file of NACELLE_CONFIG. The chart's own settings win over those of `server`. */}}
{{- define "nacelle.config" -}}
{{- $root := .root -}}
{{- $pool := .pool -}}
{{- $config := deepCopy $pool.server -}}
{{- $_ := set $config "host" "0.0.0.0" -}}
{{- $_ := set $config "port" 8080 -}}
{{- $_ := set $config "device" (get $config "device" | default $pool.facts.device) -}}
{{- if hasKey $config "split" -}}{{- $_ := unset $config "device" -}}{{- end -}}
{{- $_ := set $config "drain-seconds" $root.Values.drain.seconds -}}
{{- $_ := set $config "log-format" (get $config "log-format" | default "json") -}}
{{- $model := include "nacelle.modelArgument" $pool -}}
{{- if $model -}}{{- $_ := set $config "model" (list $model) -}}{{- end -}}
{{- if $root.Values.cache.packedWeights -}}{{- $_ := set $config "packed-cache" "/models/packed" -}}{{- end -}}
{{- if $root.Values.auth.secret -}}{{- $_ := set $config "api-keys" (printf "/etc/nacelle/auth/%s" $root.Values.auth.key) -}}{{- end -}}
{{- if $root.Values.tls.secret -}}
  {{- $_ := set $config "tls-cert" "/etc/nacelle/tls/tls.crt" -}}
  {{- $_ := set $config "tls-key" "/etc/nacelle/tls/tls.key" -}}
{{- end -}}
{{- if $root.Values.manage.enabled -}}
  {{- $_ := set $config "manage-host" "0.0.0.0" -}}
  {{- $_ := set $config "manage-port" $root.Values.manage.port -}}
{{- else -}}
  {{- $_ := set $config "manage-port" "off" -}}
{{- end -}}
{{- if $root.Values.lora -}}
  {{- $loras := list -}}
  {{- range $root.Values.lora -}}{{- $loras = append $loras (printf "%s=%s" .name .path) -}}{{- end -}}
  {{- $_ := set $config "lora" $loras -}}
{{- end -}}
{{- toYaml $config -}}
{{- end }}

{{/* The claim of a pool's cache; empty: none. */}}
{{- define "nacelle.claim" -}}
{{- $cache := .root.Values.cache -}}
{{- if eq $cache.type "shared" -}}{{ $cache.existingClaim | default (include "nacelle.fullname" .root) }}
{{- else if eq $cache.type "perPool" -}}{{ .pool.fullname }}
{{- end -}}
{{- end }}

{{- define "nacelle.claimSpec" -}}
accessModes: [{{ .mode }}]
{{- with .cache.storageClass }}
storageClassName: {{ . }}
{{- end }}
resources:
  requests:
    storage: {{ .cache.size }}
{{- end }}

{{/* Restricted Pod Security, for every container of the chart. */}}
{{- define "nacelle.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "nacelle.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}
