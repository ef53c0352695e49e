package stack

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// startWithin is how long the demo may take to be ready, on a busy machine and under the race detector.
const startWithin = 60 * time.Second

// Info is where a running demo answers, as it writes it with --info.
type Info struct {
	HTTP   string `json:"http"`
	Admin  string `json:"admin"`
	MQTT   string `json:"mqtt"`
	Tokens struct {
		Customer string `json:"customer"`
		Admin    string `json:"admin"`
	} `json:"tokens"`
	Device struct {
		ID       string `json:"id"`
		Username string `json:"username"`
		Password string `json:"password"`
	} `json:"device"`
}

// Demo starts cmd/demo on free ports and waits until everything answers.
func Demo(tb testing.TB, programs *Programs, args ...string) (*Process, Info) {
	tb.Helper()
	file := filepath.Join(tb.TempDir(), "info.json")
	args = append([]string{"--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--info", file}, args...)
	p := Start(tb, nil, programs.Path(tb, "demo"), args...)
	var info Info
	Eventually(tb, startWithin, func() error {
		if p.Exited() {
			tb.Fatalf("the demo ended:\n%s", p.Stderr())
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(text, &info); err != nil {
			return fmt.Errorf("read %s: %w", file, err)
		}
		return nil
	})
	return p, info
}
