// The restricted profile of the Pod Security Standards (https://kubernetes.io/docs/concepts/security/pod-security-standards/),
// baseline included. Volumes of type image are allowed since Kubernetes 1.33.
const volumes = ['configMap', 'csi', 'downwardAPI', 'emptyDir', 'ephemeral', 'image', 'persistentVolumeClaim', 'projected', 'secret'];
const sysctls = ['kernel.shm_rmid_forced', 'net.ipv4.ip_local_port_range', 'net.ipv4.ip_unprivileged_port_start', 'net.ipv4.tcp_syncookies', 'net.ipv4.ping_group_range'];

// What a pod's spec breaks; empty: nothing.
export function restricted(spec) {
  const faults = [];
  const check = (good, what) => { if (!good) faults.push(what); };
  for (const key of ['hostNetwork', 'hostPID', 'hostIPC']) check(!spec[key], key);
  for (const { name, ...source } of spec.volumes ?? []) check(Object.keys(source).every((type) => volumes.includes(type)), `volume ${name}: ${Object.keys(source)}`);
  const pod = spec.securityContext ?? {};
  check((pod.sysctls ?? []).every(({ name }) => sysctls.includes(name)), 'sysctls');
  check(!pod.windowsOptions?.hostProcess, 'hostProcess');
  check(pod.runAsUser !== 0, 'runAsUser 0');
  const profiles = ['RuntimeDefault', 'Localhost'];
  for (const container of [...spec.initContainers ?? [], ...spec.containers, ...spec.ephemeralContainers ?? []]) {
    const own = container.securityContext ?? {};
    const at = `container ${container.name}`;
    check(!own.privileged, `${at}: privileged`);
    check(own.allowPrivilegeEscalation === false, `${at}: allowPrivilegeEscalation`);
    check(own.capabilities?.drop?.includes('ALL') && (own.capabilities.add ?? []).every((name) => name === 'NET_BIND_SERVICE'), `${at}: capabilities`);
    check(own.runAsNonRoot ?? pod.runAsNonRoot, `${at}: runAsNonRoot`);
    check(own.runAsUser !== 0, `${at}: runAsUser 0`);
    check(profiles.includes((own.seccompProfile ?? pod.seccompProfile)?.type), `${at}: seccompProfile`);
    check(!own.procMount || own.procMount === 'Default', `${at}: procMount`);
    check((container.ports ?? []).every(({ hostPort }) => !hostPort), `${at}: hostPort`);
    for (const probe of ['startupProbe', 'readinessProbe', 'livenessProbe']) check(!container[probe]?.httpGet?.host, `${at}: ${probe}.host`);
  }
  return faults;
}
