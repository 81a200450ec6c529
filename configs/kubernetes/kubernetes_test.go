// Package kubernetes_test holds the manifests against the types of Kubernetes, as strictly as its API
// server does when it is asked to, and against what DawsOS promises. No cluster runs here.
package kubernetes_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/intstr"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"

	"github.com/dawsos/dawsos/internal/config"
)

const (
	root      = "../.."
	namespace = "dawsos"
	example   = "secrets.example.yaml"
	nameLabel = "app.kubernetes.io/name"
)

// ports of the contract, by what listens there.
var ports = map[string]int32{"dawsos-api": 8000, "dawsos-worker": 8001}

// metricsPort is where the API's metrics and probes are, past the bound on clients' connections.
const metricsPort = 9000

// decoder is strict: a field that the type does not have, or that stands twice, is an error.
func decoder(t *testing.T) runtime.Decoder {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, appsv1.AddToScheme, batchv1.AddToScheme, policyv1.AddToScheme, autoscalingv2.AddToScheme, networkingv1.AddToScheme,
	} {
		require.NoError(t, add(scheme))
	}
	return serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
}

// decode returns the objects of a file.
func decode(t *testing.T, file string) []runtime.Object {
	t.Helper()
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	var objects []runtime.Object
	documents := utilyaml.NewYAMLReader(newReader(raw))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			require.NotEmpty(t, objects, file)
			return objects
		}
		require.NoError(t, err, file)
		object, _, err := decoder(t).Decode(document, nil, nil)
		require.NoError(t, err, "%s:\n%s", file, document)
		objects = append(objects, object)
	}
}

// resources are the files that kustomization.yaml names.
func resources(t *testing.T) []string {
	t.Helper()
	var k struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string
		Namespace  string
		Resources  []string
		Labels     []struct{ Pairs map[string]string }
		Images     []struct {
			Name, Digest string
			NewName      string `yaml:"newName"`
			NewTag       string `yaml:"newTag"`
		}
	}
	raw, err := os.ReadFile("kustomization.yaml")
	require.NoError(t, err)
	d := yaml.NewDecoder(bytes.NewReader(raw))
	d.KnownFields(true)
	require.NoError(t, d.Decode(&k))
	require.Equal(t, "kustomize.config.k8s.io/v1beta1", k.APIVersion)
	require.Equal(t, "Kustomization", k.Kind)
	require.Equal(t, namespace, k.Namespace)
	return k.Resources
}

// cluster is what is applied.
type cluster struct {
	deployments map[string]*appsv1.Deployment
	services    map[string]*corev1.Service
	budgets     map[string]*policyv1.PodDisruptionBudget
	scalers     map[string]*autoscalingv2.HorizontalPodAutoscaler
	accounts    map[string]*corev1.ServiceAccount
	policies    map[string]*networkingv1.NetworkPolicy
	jobs        map[string]*batchv1.Job
	settings    *corev1.ConfigMap
	namespace   *corev1.Namespace
	secrets     map[string]*corev1.Secret // those of the example
}

func load(t *testing.T) cluster {
	t.Helper()
	c := cluster{
		deployments: map[string]*appsv1.Deployment{}, services: map[string]*corev1.Service{}, budgets: map[string]*policyv1.PodDisruptionBudget{},
		scalers: map[string]*autoscalingv2.HorizontalPodAutoscaler{}, accounts: map[string]*corev1.ServiceAccount{},
		policies: map[string]*networkingv1.NetworkPolicy{}, jobs: map[string]*batchv1.Job{}, secrets: map[string]*corev1.Secret{},
	}
	for _, file := range append(resources(t), example) {
		for _, object := range decode(t, file) {
			switch o := object.(type) {
			case *appsv1.Deployment:
				c.deployments[o.Name] = o
			case *corev1.Service:
				c.services[o.Name] = o
			case *policyv1.PodDisruptionBudget:
				c.budgets[o.Name] = o
			case *autoscalingv2.HorizontalPodAutoscaler:
				c.scalers[o.Name] = o
			case *corev1.ServiceAccount:
				c.accounts[o.Name] = o
			case *networkingv1.NetworkPolicy:
				c.policies[o.Name] = o
			case *batchv1.Job:
				c.jobs[o.Name] = o
			case *corev1.ConfigMap:
				require.Nil(t, c.settings)
				c.settings = o
			case *corev1.Namespace:
				c.namespace = o
			case *corev1.Secret:
				require.Equal(t, example, file, "a secret is applied with the rest")
				c.secrets[o.Name] = o
			default:
				t.Fatalf("%s: nothing looks at a %T", file, object)
			}
		}
	}
	return c
}

// pods are the templates of all pods, by the name on their label.
func (c cluster) pods() map[string]corev1.PodTemplateSpec {
	pods := map[string]corev1.PodTemplateSpec{}
	for name, d := range c.deployments {
		pods[name] = d.Spec.Template
	}
	for name, j := range c.jobs {
		pods[name] = j.Spec.Template
	}
	return pods
}

// selects returns which pods a selector is for.
func (c cluster) selects(t *testing.T, s *metav1.LabelSelector) []string {
	t.Helper()
	selector, err := metav1.LabelSelectorAsSelector(s)
	require.NoError(t, err)
	names := []string{}
	for name, pod := range c.pods() {
		if selector.Matches(labels.Set(pod.Labels)) {
			names = append(names, name)
		}
	}
	return names
}

func TestEveryManifestIsApplied(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.yaml")
	require.NoError(t, err)
	require.ElementsMatch(t, files, append(resources(t), example, "kustomization.yaml"))

	c := load(t)
	require.Equal(t, namespace, c.namespace.Name)
	require.Equal(t, "restricted", c.namespace.Labels["pod-security.kubernetes.io/enforce"])
	for _, names := range []int{len(c.deployments), len(c.services), len(c.budgets), len(c.scalers)} {
		require.Equal(t, 2, names, "of API and worker each one")
	}
	require.Len(t, c.jobs, 1)
}

// The decoder finds what it is there for.
func TestDecodingIsStrict(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("worker.yaml")
	require.NoError(t, err)
	for name, change := range map[string][2]string{
		"a field that is not there":    {"readinessProbe:", "readyProbe:"},
		"a field in the wrong case":    {"minAvailable:", "minavailable:"},
		"a value of the wrong type":    {"minReplicas: 2", "minReplicas: two"},
		"a field that stands twice":    {"minReplicas: 2", "minReplicas: 2\n  minReplicas: 2"},
		"a kind that is not there":     {"kind: PodDisruptionBudget", "kind: PodDisruptionBudgets"},
		"a version that is not there":  {"autoscaling/v2", "autoscaling/v2beta2"},
		"a probe that asks two things": {"httpGet: {path: /readyz, port: http}", "httpGet: {path: /readyz, ports: http}"},
	} {
		changed := strings.Replace(string(raw), change[0], change[1], 1)
		require.NotEqual(t, string(raw), changed, name)
		failed := false
		documents := utilyaml.NewYAMLReader(newReader([]byte(changed)))
		for {
			document, err := documents.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
			if _, _, err := decoder(t).Decode(document, nil, nil); err != nil {
				failed = true
			}
		}
		require.True(t, failed, name)
	}
}

func TestSelectorsFindPods(t *testing.T) {
	t.Parallel()
	c := load(t)
	for name, d := range c.deployments {
		require.Equal(t, []string{name}, c.selects(t, d.Spec.Selector))
		for _, spread := range d.Spec.Template.Spec.TopologySpreadConstraints {
			require.Equal(t, []string{name}, c.selects(t, spread.LabelSelector))
		}
		require.Len(t, d.Spec.Template.Spec.TopologySpreadConstraints, 2)
		require.Nil(t, d.Spec.Replicas, "the autoscaler's")
	}
	for name, s := range c.services {
		require.Equal(t, []string{name}, c.selects(t, &metav1.LabelSelector{MatchLabels: s.Spec.Selector}))
	}
	for name, b := range c.budgets {
		require.Equal(t, []string{name}, c.selects(t, b.Spec.Selector))
		scaler := c.scalers[name]
		require.Equal(t, intstr.Int, b.Spec.MinAvailable.Type)
		require.Less(t, b.Spec.MinAvailable.IntVal, *scaler.Spec.MinReplicas, "no node could ever be drained")
	}
	for name, s := range c.scalers {
		require.Equal(t, autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: name}, s.Spec.ScaleTargetRef)
		require.Contains(t, c.deployments, name)
		require.Equal(t, int32(2), *s.Spec.MinReplicas)
	}
	for name, p := range c.policies {
		require.NotEmpty(t, c.selects(t, &p.Spec.PodSelector), name)
	}
}

func TestPortsAreTheContracts(t *testing.T) {
	t.Parallel()
	c := load(t)
	for name, port := range ports {
		container := only(t, c.pods()[name])
		want := []corev1.ContainerPort{{Name: "http", ContainerPort: port, Protocol: container.Ports[0].Protocol}}
		watched, probed := port, "http"
		if name == "dawsos-api" {
			want = append(want, corev1.ContainerPort{Name: "metrics", ContainerPort: metricsPort, Protocol: container.Ports[0].Protocol})
			watched, probed = metricsPort, "metrics"
		}
		require.Equal(t, want, container.Ports)
		require.Equal(t, fmt.Sprint(watched), c.pods()[name].Annotations["prometheus.io/port"])
		require.Len(t, c.services[name].Spec.Ports, 1)
		require.Equal(t, port, c.services[name].Spec.Ports[0].Port)
		require.Equal(t, intstr.FromString("http"), c.services[name].Spec.Ports[0].TargetPort)
		for path, probe := range map[string]*corev1.Probe{"/healthz": container.LivenessProbe, "/readyz": container.ReadinessProbe} {
			require.NotNil(t, probe, name)
			require.Equal(t, path, probe.HTTPGet.Path)
			require.Equal(t, intstr.FromString(probed), probe.HTTPGet.Port)
		}
		require.Equal(t, "/healthz", container.StartupProbe.HTTPGet.Path)
		require.Equal(t, intstr.FromString(probed), container.StartupProbe.HTTPGet.Port)
	}
	require.Equal(t, fmt.Sprintf(":%d", metricsPort), c.settings.Data["METRICS_ADDR"])
	require.Equal(t, ":8000", c.settings.Data["API_ADDR"])
	require.Equal(t, ":8001", c.settings.Data["WORKER_ADDR"])
	require.Equal(t, fmt.Sprintf("http://%s:8000", c.services["dawsos-api"].Name), c.settings.Data["API_URL"])
}

// only returns the one container of a pod.
func only(t *testing.T, pod corev1.PodTemplateSpec) corev1.Container {
	t.Helper()
	require.Len(t, pod.Spec.Containers, 1)
	require.Empty(t, pod.Spec.InitContainers)
	return pod.Spec.Containers[0]
}

func TestPodsMayDoLittle(t *testing.T) {
	t.Parallel()
	c := load(t)
	for name, pod := range c.pods() {
		s := pod.Spec
		require.True(t, *s.SecurityContext.RunAsNonRoot, name)
		require.EqualValues(t, 65532, *s.SecurityContext.RunAsUser, "the image's account")
		require.Equal(t, corev1.SeccompProfileTypeRuntimeDefault, s.SecurityContext.SeccompProfile.Type, name)
		require.False(t, *s.AutomountServiceAccountToken, name)
		require.False(t, *s.EnableServiceLinks, name)
		require.Contains(t, c.accounts, s.ServiceAccountName)
		require.False(t, *c.accounts[s.ServiceAccountName].AutomountServiceAccountToken, name)
		require.False(t, s.HostNetwork || s.HostPID || s.HostIPC, name)

		container := only(t, pod)
		require.True(t, *container.SecurityContext.ReadOnlyRootFilesystem, name)
		require.False(t, *container.SecurityContext.AllowPrivilegeEscalation, name)
		require.Equal(t, &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}, container.SecurityContext.Capabilities, name)
		require.NotEmpty(t, container.Resources.Requests.Cpu().String(), name)
		require.Positive(t, container.Resources.Requests.Memory().Value(), name)
		limit := container.Resources.Limits.Memory().Value()
		require.Positive(t, limit, name)
		for _, v := range container.Env {
			if v.Name == "GOMEMLIMIT" {
				var mib int64
				_, err := fmt.Sscanf(v.Value, "%dMiB", &mib)
				require.NoError(t, err)
				require.Less(t, mib<<20, limit, name)
			}
		}
		for _, mount := range container.VolumeMounts {
			require.True(t, mount.ReadOnly, name)
		}
	}
}

func TestStopsAreLongEnough(t *testing.T) {
	t.Parallel()
	c := load(t)
	for name, d := range c.deployments {
		cfg := settings(t, c, name, secretValues())
		grace := int64(cfg.ShutdownGrace.Seconds()) + 4 // traces and logs
		if lifecycle := only(t, d.Spec.Template).Lifecycle; lifecycle != nil {
			grace += lifecycle.PreStop.Sleep.Seconds
		}
		require.GreaterOrEqual(t, *d.Spec.Template.Spec.TerminationGracePeriodSeconds, grace, name)
		require.Zero(t, d.Spec.Strategy.RollingUpdate.MaxUnavailable.IntValue(), name)
	}
}

func TestImagesHaveATagAndAProgram(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.Join(root, "Dockerfile"))
	require.NoError(t, err)
	dockerfile := string(raw)
	kustomization, err := os.ReadFile("kustomization.yaml")
	require.NoError(t, err)
	for name, pod := range load(t).pods() {
		image, tag, ok := strings.Cut(only(t, pod).Image, ":")
		require.True(t, ok && tag != "" && tag != "latest", name)
		require.Contains(t, string(kustomization), "{name: "+image+",", "its tag is set in one place")
		program := only(t, pod).Command[0]
		require.Regexp(t, `COPY --from=build .*/out/`+filepath.Base(program)+` .*`+filepath.Dir(program)+`|COPY --from=build .* `+filepath.Dir(program)+`/?\n`, dockerfile, name)
	}
}

// secretValues are secrets as an installation has them, by Secret and key.
func secretValues() map[string]string {
	const url = "postgres://user:b7Qm-0fTz9@postgres.database:5432/dawsos?sslmode=verify-full&sslrootcert=/etc/dawsos/database-ca/ca.crt"
	return map[string]string{
		"dawsos-database-owner/DATABASE_URL": url, "dawsos-database-api/DATABASE_URL": url, "dawsos-database-worker/DATABASE_URL": url,
		"dawsos-worker-key/API_KEY":  "daws_000000000000_0000000000000000000000000000000000000000000",
		"dawsos-keys/SECRETS_KEY":    "Cy0tE2WjtayU1P12ApZFaRP5ITn3q1agrAdC+LxKfzg=",
		"dawsos-keys/WEBHOOK_SECRET": "whsec_l/FIufjWHk+18lcghbxiVbc0Vd5++LH/fLw7BDUxzzY=",
	}
}

// environment returns what a pod's process finds, as Kubernetes puts it together.
func environment(t *testing.T, c cluster, pod string, secrets map[string]string) map[string]string {
	t.Helper()
	env := map[string]string{}
	container := only(t, c.pods()[pod])
	for _, from := range container.EnvFrom {
		require.Equal(t, c.settings.Name, from.ConfigMapRef.Name)
		for name, value := range c.settings.Data {
			env[name] = value
		}
	}
	for _, v := range container.Env {
		if v.ValueFrom == nil {
			env[v.Name] = v.Value
			continue
		}
		ref := v.ValueFrom.SecretKeyRef
		require.NotNil(t, ref, "%s of %s", v.Name, pod)
		value, ok := secrets[ref.Name+"/"+ref.Key]
		require.True(t, ok, "no Secret %s has %s", ref.Name, ref.Key)
		env[v.Name] = value
	}
	return env
}

var roles = map[string]config.Role{"dawsos-api": config.API, "dawsos-worker": config.Worker, "dawsos-migrate": config.Migrate}

func settings(t *testing.T, c cluster, pod string, secrets map[string]string) config.Config {
	t.Helper()
	env := environment(t, c, pod, secrets)
	cfg, err := config.Load(func(name string) string { return env[name] }, roles[pod])
	require.NoError(t, err, pod)
	return cfg
}

// exampleValues are the secrets of the example.
func exampleValues(c cluster) map[string]string {
	values := map[string]string{}
	for name, secret := range c.secrets {
		for key, value := range secret.StringData {
			values[name+"/"+key] = value
		}
	}
	return values
}

func TestProcessesStartWithTheirSettings(t *testing.T) {
	t.Parallel()
	c := load(t)
	for pod := range c.pods() {
		cfg := settings(t, c, pod, secretValues())
		require.Equal(t, config.Production, cfg.Environment, pod)
	}
}

func TestPlaceholdersAreRefused(t *testing.T) {
	t.Parallel()
	c := load(t)
	for pod, role := range roles {
		env := environment(t, c, pod, exampleValues(c))
		refs := 0
		for _, v := range only(t, c.pods()[pod]).Env {
			if v.ValueFrom == nil {
				continue
			}
			refs++
			// Each by itself: the others are as they must be.
			alone := environment(t, c, pod, secretValues())
			alone[v.Name] = env[v.Name]
			_, err := config.Load(func(name string) string { return alone[name] }, role)
			require.ErrorContains(t, err, v.Name+"=", "%s starts with the example's %s", pod, v.Name)
		}
		require.Positive(t, refs, pod)
	}
}

func TestEveryLoginIsItsOwn(t *testing.T) {
	t.Parallel()
	c := load(t)
	logins := map[string]string{"dawsos-api": "dawsos_backend", "dawsos-worker": "dawsos_jobs", "dawsos-migrate": "dawsos"}
	for pod, login := range logins {
		url := environment(t, c, pod, exampleValues(c))["DATABASE_URL"]
		require.Contains(t, url, "postgres://"+login+":", pod)
		require.Contains(t, url, "sslmode=verify-full", pod)
	}
}

func TestReferencesExist(t *testing.T) {
	t.Parallel()
	c := load(t)
	for name, pod := range c.pods() {
		volumes := map[string]*corev1.SecretVolumeSource{}
		for _, v := range pod.Spec.Volumes {
			require.NotNil(t, v.Secret, name)
			require.Contains(t, c.secrets, v.Secret.SecretName)
			volumes[v.Name] = v.Secret
		}
		for _, m := range only(t, pod).VolumeMounts {
			require.Contains(t, volumes, m.Name, name)
			url := environment(t, c, name, exampleValues(c))["DATABASE_URL"]
			for key := range c.secrets[volumes[m.Name].SecretName].StringData {
				require.Contains(t, url, "sslrootcert="+m.MountPath+"/"+key, "the file that the address names")
			}
		}
	}
}

// Every variable is a setting; GOMEMLIMIT is Go's.
func TestVariablesAreSettings(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.Join(root, "docs", "configuration.md")) // written from the table of settings
	require.NoError(t, err)
	known := map[string]bool{"GOMEMLIMIT": true}
	for _, match := range regexp.MustCompile("(?m)^\\| `([A-Z_]+)` \\|").FindAllStringSubmatch(string(raw), -1) {
		known[match[1]] = true
	}
	require.Greater(t, len(known), 40)
	c := load(t)
	for pod := range c.pods() {
		for name := range environment(t, c, pod, secretValues()) {
			require.True(t, known[name], "%s of %s is no setting", name, pod)
		}
	}
}

func TestConnectionsFit(t *testing.T) {
	t.Parallel()
	c := load(t)
	most := int32(0)
	for _, s := range c.scalers {
		most += s.Spec.MaxReplicas + 1 // one more while a rollout replaces them
	}
	cfg := settings(t, c, "dawsos-api", secretValues())
	total := int(most) * cfg.DatabasePoolMax
	raw, err := os.ReadFile(filepath.Join(root, "docs", "kubernetes.md"))
	require.NoError(t, err)
	require.Contains(t, string(raw), fmt.Sprintf("`max_connections` of %d", total+20), "what the page asks for, 20 of them for people, dashboards and the migration")
}

// adapter is prometheus-adapter's configuration, as far as it is used.
type adapter struct {
	ExternalRules []struct {
		SeriesQuery string `yaml:"seriesQuery"`
		Resources   struct {
			Overrides map[string]struct{ Resource string }
		}
		Name         struct{ Matches, As string }
		MetricsQuery string `yaml:"metricsQuery"`
	} `yaml:"externalRules"`
}

func TestAutoscalersAskForWhatIsThere(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.Join("monitoring", "prometheus-adapter.yaml"))
	require.NoError(t, err)
	var a adapter
	d := yaml.NewDecoder(bytes.NewReader(raw))
	d.KnownFields(true)
	require.NoError(t, d.Decode(&a))
	reference, err := os.ReadFile(filepath.Join(root, "docs", "reference", "metrics.md"))
	require.NoError(t, err)

	external := 0
	for name, s := range load(t).scalers {
		for _, m := range s.Spec.Metrics {
			if m.Type == autoscalingv2.ResourceMetricSourceType {
				require.Equal(t, corev1.ResourceCPU, m.Resource.Name)
				continue
			}
			external++
			metric := m.External.Metric
			require.Contains(t, string(reference), "| `"+metric.Name+"` | gauge | `queue` | worker |", name)
			served := false
			for _, rule := range a.ExternalRules {
				if rule.Name.As != metric.Name {
					continue
				}
				served = true
				require.True(t, strings.HasPrefix(rule.SeriesQuery, metric.Name+"{"))
				require.Regexp(t, rule.Name.Matches, metric.Name)
				require.Equal(t, "namespace", rule.Resources.Overrides["namespace"].Resource)
				for label := range metric.Selector.MatchLabels {
					require.Contains(t, rule.MetricsQuery, "by ("+label+")", "the label that the autoscaler selects by")
				}
			}
			require.True(t, served, "no rule of the adapter serves %s", metric.Name)
			require.Equal(t, "delivery", metric.Selector.MatchLabels["queue"])
		}
	}
	require.Equal(t, 1, external)
}

// allows tells whether some policy lets a pod out to, or in from, a peer at a port.
func (c cluster) allows(t *testing.T, pod string, out bool, peer func(networkingv1.NetworkPolicyPeer) bool, port int32) bool {
	t.Helper()
	for _, p := range c.policies {
		selector, err := metav1.LabelSelectorAsSelector(&p.Spec.PodSelector)
		require.NoError(t, err)
		if !selector.Matches(labels.Set(c.pods()[pod].Labels)) {
			continue
		}
		check := func(peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort) bool {
			require.NotEmpty(t, peers, "%s: an empty list is everybody", p.Name)
			require.NotEmpty(t, ports, "%s: an empty list is every port", p.Name)
			for _, candidate := range peers {
				for _, at := range ports {
					if peer(candidate) && at.Port.IntVal == port {
						return true
					}
				}
			}
			return false
		}
		if out {
			for _, rule := range p.Spec.Egress {
				if check(rule.To, rule.Ports) {
					return true
				}
			}
		} else {
			for _, rule := range p.Spec.Ingress {
				if check(rule.From, rule.Ports) {
					return true
				}
			}
		}
	}
	return false
}

func namespaced(name string) func(networkingv1.NetworkPolicyPeer) bool {
	return func(p networkingv1.NetworkPolicyPeer) bool {
		return p.NamespaceSelector != nil && p.NamespaceSelector.MatchLabels["kubernetes.io/metadata.name"] == name
	}
}

func within(name string) func(networkingv1.NetworkPolicyPeer) bool {
	return func(p networkingv1.NetworkPolicyPeer) bool {
		return p.NamespaceSelector == nil && p.PodSelector != nil && p.PodSelector.MatchLabels[nameLabel] == name
	}
}

// address is an address outside of the cluster, or what only looks like one.
func address(text string) func(networkingv1.NetworkPolicyPeer) bool {
	a := netip.MustParseAddr(text)
	return func(p networkingv1.NetworkPolicyPeer) bool {
		if p.IPBlock == nil || !netip.MustParsePrefix(p.IPBlock.CIDR).Contains(a) {
			return false
		}
		for _, except := range p.IPBlock.Except {
			if netip.MustParsePrefix(except).Contains(a) {
				return false
			}
		}
		return true
	}
}

func TestNetwork(t *testing.T) {
	t.Parallel()
	c := load(t)
	deny := c.policies["default-deny"].Spec
	require.Empty(t, deny.PodSelector)
	require.Empty(t, deny.Ingress)
	require.Empty(t, deny.Egress)
	require.ElementsMatch(t, []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}, deny.PolicyTypes)

	const in, out = false, true
	for _, way := range []struct {
		pod     string
		out     bool
		peer    func(networkingv1.NetworkPolicyPeer) bool
		port    int32
		allowed bool
	}{
		{"dawsos-api", in, namespaced("ingress-nginx"), 8000, true},
		{"dawsos-worker", in, namespaced("ingress-nginx"), 8001, false},
		{"dawsos-api", in, within("dawsos-worker"), 8000, true},
		{"dawsos-worker", out, within("dawsos-api"), 8000, true},
		{"dawsos-api", in, namespaced("monitoring"), 9000, true},
		{"dawsos-api", in, namespaced("monitoring"), 8000, false},
		{"dawsos-api", in, namespaced("ingress-nginx"), 9000, false},
		{"dawsos-worker", in, namespaced("monitoring"), 8001, true},
		{"dawsos-api", out, namespaced("monitoring"), 4319, true},
		{"dawsos-api", out, namespaced("database"), 5432, true},
		{"dawsos-worker", out, namespaced("database"), 5432, true},
		{"dawsos-migrate", out, namespaced("database"), 5432, true},
		{"dawsos-migrate", out, namespaced("kube-system"), 53, true},
		{"dawsos-migrate", out, address("203.0.113.7"), 443, false},
		{"dawsos-worker", out, address("203.0.113.7"), 443, true},
		{"dawsos-api", out, address("203.0.113.7"), 443, true},
		{"dawsos-api", out, address("203.0.113.7"), 80, false},
		{"dawsos-worker", out, address("169.254.169.254"), 443, false},
		{"dawsos-worker", out, address("10.1.2.3"), 443, false},
		{"dawsos-worker", out, address("172.20.0.1"), 443, false},
		{"dawsos-worker", out, address("192.168.1.1"), 443, false},
		{"dawsos-worker", out, address("127.0.0.1"), 443, false},
	} {
		require.Equal(t, way.allowed, c.allows(t, way.pod, way.out, way.peer, way.port), "%+v", way)
	}
}
