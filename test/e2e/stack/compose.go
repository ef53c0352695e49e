package stack

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
)

// Compose is what docker-compose.yml says, as far as processes need it.
type Compose struct {
	Services map[string]Container
	Configs  map[string]struct{ Content string }
	Volumes  map[string]any
}

// Container is one service of a compose file.
type Container struct {
	Image       string
	Build       *struct{ Context, Dockerfile, Target string }
	Entrypoint  []string
	Command     []string
	Environment map[string]string
	Volumes     []string
	Ports       []string
	Configs     []struct{ Source, Target string }
	DependsOn   []string `yaml:"depends_on"`
	Healthcheck *struct{ Test []string }
}

// ReadCompose reads docker-compose.yml at the top of the repository.
func ReadCompose(tb testing.TB) *Compose {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join(Root(), "docker-compose.yml"))
	if err != nil {
		tb.Fatal(err)
	}
	var c Compose
	if err := yaml.Unmarshal(text, &c); err != nil {
		tb.Fatal(err)
	}
	return &c
}

// Site runs the services of a compose file as plain processes on loopback: container paths become folders of the test,
// and the names and ports of containers become free ports.
type Site struct {
	// Env is added to the environment of every process.
	Env []string
	// Dir holds one folder per volume.
	Dir string

	compose   *Compose
	programs  *Programs
	addresses map[string]string // container address -> real address
	processes map[string]*Process
}

// NewSite prepares the services of a compose file; nothing runs yet.
func NewSite(tb testing.TB, c *Compose, programs *Programs) *Site {
	tb.Helper()
	s := &Site{Dir: tb.TempDir(), compose: c, programs: programs, addresses: map[string]string{}, processes: map[string]*Process{}}
	for name, container := range c.Services {
		for _, port := range ports(name, container) {
			s.addresses[name+":"+port] = FreeAddress(tb)
		}
	}
	for name := range c.Volumes {
		if err := os.MkdirAll(filepath.Join(s.Dir, name), 0o700); err != nil {
			tb.Fatal(err)
		}
	}
	return s
}

// ports are the ports that a container listens at: those in its command and environment, and the usual ones of images
// that are not ours.
func ports(name string, c Container) []string {
	if usual, ok := map[string]string{"mosquitto": "1883", "redis": "6379"}[name]; ok {
		return []string{usual}
	}
	var found []string
	values := slices.Clone(c.Command)
	for _, v := range c.Environment {
		values = append(values, v)
	}
	for _, v := range values {
		if port, ok := strings.CutPrefix(v, "0.0.0.0:"); ok {
			found = append(found, port)
		}
	}
	return found
}

// Address is where a container's port really is.
func (s *Site) Address(service, port string) string { return s.addresses[service+":"+port] }

// Start starts a service as its command line says. Further environment variables may be given.
func (s *Site) Start(tb testing.TB, service string, env ...string) *Process {
	tb.Helper()
	c, ok := s.compose.Services[service]
	if !ok {
		tb.Fatalf("docker-compose.yml has no service %s", service)
	}
	line := slices.Concat(c.Entrypoint, c.Command)
	program, args := s.program(tb, line[0]), s.translate(tb, service, line[1:])
	var all []string
	for name, value := range c.Environment {
		all = append(all, name+"="+s.translate(tb, service, []string{value})[0])
	}
	p := Start(tb, slices.Concat(all, s.Env, env), program, args...)
	s.processes[service] = p
	return p
}

// Process is the running process of a service.
func (s *Site) Process(service string) *Process { return s.processes[service] }

// Healthy waits until the service's own health check succeeds.
func (s *Site) Healthy(tb testing.TB, service string, within time.Duration) {
	tb.Helper()
	check := s.compose.Services[service].Healthcheck
	if check == nil || len(check.Test) < 2 || check.Test[0] != "CMD" {
		tb.Fatalf("%s has no health check", service)
	}
	program, args := s.program(tb, check.Test[1]), s.translate(tb, service, check.Test[2:])
	if strings.HasSuffix(program, "redis-cli") { // it takes the port before its command
		args = append([]string{"-p", strings.TrimPrefix(s.Address(service, "6379"), "127.0.0.1:")}, args...)
	}
	Eventually(tb, within, func() error {
		if p := s.processes[service]; p != nil && p.Exited() {
			tb.Fatalf("%s has ended:\n%s", service, tail(p.Stderr()))
		}
		out, err := exec.CommandContext(tb.Context(), program, args...).CombinedOutput() //nolint:gosec // our own compose file
		if err != nil {
			return fmt.Errorf("the health check of %s: %w: %s", service, err, out)
		}
		return nil
	})
}

// program is the real program behind a container's: ours as they were built, others from the system.
func (s *Site) program(tb testing.TB, name string) string {
	tb.Helper()
	if own, ok := strings.CutPrefix(name, "/"); ok {
		return s.programs.Path(tb, own)
	}
	for _, dir := range []string{"/usr/sbin/", "/usr/bin/"} {
		if _, err := os.Stat(dir + name); err == nil {
			return dir + name
		}
	}
	if os.Getenv("PORTICO_REQUIRE_ALL") == "1" {
		tb.Fatalf("%s is required: apt-get install mosquitto mosquitto-clients redis-server", name)
	}
	tb.Skipf("%s is not installed: apt-get install mosquitto mosquitto-clients redis-server", name)
	return ""
}

// translate replaces what exists only in containers: addresses, mounted volumes, configs and the files of the image.
func (s *Site) translate(tb testing.TB, service string, values []string) []string {
	tb.Helper()
	c := s.compose.Services[service]
	var pairs []string
	for address, actual := range s.addresses {
		host, port, _ := strings.Cut(address, ":")
		_, realPort, _ := strings.Cut(actual, ":")
		pairs = append(pairs, host+":"+port, actual)
		if host == service {
			pairs = append(pairs, "0.0.0.0:"+port, actual, "127.0.0.1:"+port, "127.0.0.1:"+realPort)
		}
	}
	for _, volume := range c.Volumes {
		name, target, _ := strings.Cut(volume, ":")
		target, _, _ = strings.Cut(target, ":")
		pairs = append(pairs, target, filepath.Join(s.Dir, name))
	}
	for _, config := range c.Configs {
		pairs = append(pairs, config.Target, s.writeConfig(tb, service, config.Source))
	}
	pairs = append(pairs, "/etc/portico/", Root()+"/", "$$", "$")
	out := make([]string, 0, len(values)+4)
	for _, v := range values {
		out = append(out, strings.NewReplacer(pairs...).Replace(v))
	}
	if service == "ca" {
		out = s.identityFolders(tb, out)
	}
	return append(out, s.port(service, values)...)
}

// port tells programs that are not ours, in their own way, which port stands for the usual one of their container.
func (s *Site) port(service string, args []string) []string {
	switch {
	case service == "mosquitto" && slices.Contains(args, "-W"): // mosquitto_sub
		return []string{"-p", strings.TrimPrefix(s.Address(service, "1883"), "127.0.0.1:")}
	case service == "redis" && slices.Contains(args, "--save"):
		return []string{"--bind", "127.0.0.1", "--port", strings.TrimPrefix(s.Address(service, "6379"), "127.0.0.1:")}
	}
	return nil
}

// identityFolders lays links to the identity volumes where the authority writes: a folder per program.
func (s *Site) identityFolders(tb testing.TB, args []string) []string {
	tb.Helper()
	dir := filepath.Join(s.Dir, "identities")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		tb.Fatal(err)
	}
	for name := range s.compose.Volumes {
		if program, ok := strings.CutSuffix(name, "-identity"); ok {
			if err := os.Symlink(filepath.Join(s.Dir, name), filepath.Join(dir, program)); err != nil && !os.IsExist(err) {
				tb.Fatal(err)
			}
		}
	}
	for i, v := range args {
		if v == "/identities" {
			args[i] = dir
		}
	}
	return args
}

// writeConfig writes a config of the compose file with the paths and ports of the test.
func (s *Site) writeConfig(tb testing.TB, service, source string) string {
	tb.Helper()
	path := filepath.Join(s.Dir, source+".conf")
	_, port, _ := strings.Cut(s.Address(service, "1883"), ":")
	data := filepath.Join(s.Dir, "mosquitto")
	text := strings.NewReplacer("listener 1883", "listener "+port+" 127.0.0.1\nuser root", "/mosquitto/data", data).
		Replace(s.compose.Configs[source].Content)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}
