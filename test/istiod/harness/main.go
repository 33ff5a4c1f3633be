// Owns the process: istiod's environment, flags, and one JSON command a line on stdin, one answer a line on stdout.
// Must not know what is in the cluster or how it is served.

package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"istio.io/istio/pilot/pkg/features"
	"istio.io/istio/pilot/test/xds"
	"istio.io/istio/pkg/log"
	"istio.io/istio/pkg/test"
)

// istiod reads these when its packages initialise, before main.
var environment = []string{
	"PILOT_ENABLE_AMBIENT=true",
	"AMBIENT_ENABLE_STATUS=false",
	"POD_NAMESPACE=istio-system",
}

const started = "WEFT_ISTIOD_ENVIRONMENT=set"

// command is one line of input; exactly one of its fields beside id is set.
type command struct {
	ID int `json:"id"`
	// Kubernetes YAML, any number of documents: created or replaced, or deleted by name.
	Apply  string `json:"apply"`
	Delete string `json:"delete"`
	// A debug page of istiod: "ambientz", "syncz", "connections".
	Dump string `json:"dump"`
	// Serve on these addresses; close() undoes it and cuts every connection.
	Listen *addresses `json:"listen"`
	Close  bool       `json:"close"`
	// Wait until nothing has happened for some time and all is pushed.
	Settle bool `json:"settle"`
	// A new certificate, "leaf" under the same root or "root" for a new root also.
	Rotate string `json:"rotate"`
}

// answer is one line of output.
type answer struct {
	ID    int    `json:"id"`
	Error string `json:"error,omitempty"`
	// Unix milliseconds when the command was begun, and how many it took.
	At     float64 `json:"at"`
	Ms     float64 `json:"ms"`
	Result any     `json:"result,omitempty"`
}

func main() {
	directory := flag.String("tls-directory", "", "serve TLS; root-cert.pem is written here")
	token := flag.String("token-file", "", "the one token that is good on the TLS port")
	account := flag.String("token-account", "istio-system/ztunnel", "namespace/name of the token's service account")
	maxAge := flag.Duration("max-connection-age", 0, "as istiod's keepaliveMaxServerConnectionAge; 0: none")
	flag.Parse()
	if !slices.Contains(os.Environ(), started) {
		fail(syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), append(environment, started)...)))
	}
	// Answers alone go to stdout.
	logging := log.DefaultOptions()
	logging.OutputPaths = []string{"stderr"}
	fail(log.Configure(logging))
	fail(test.Wrap(func(t test.Failer) {
		cluster := newCluster(tokenReviewer{file: *token, account: *account})
		discovery := xds.NewFakeDiscoveryServer(t, xds.FakeOptions{
			DebounceTime:       features.DebounceAfter,
			KubeClientModifier: cluster.use,
		})
		server, err := newServer(discovery, *directory, *maxAge)
		if err != nil {
			t.Fatal(err)
		}
		defer server.close()
		converse(func(c command) (any, error) { return run(c, cluster, server) })
	}))
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// converse answers each line of stdin in order, and returns at its end.
func converse(run func(command) (any, error)) {
	lines := bufio.NewReader(os.Stdin)
	answers := json.NewEncoder(os.Stdout)
	_ = answers.Encode(answer{At: unixMs(time.Now())})
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		begun := time.Now()
		var c command
		var result any
		if err = json.Unmarshal(line, &c); err == nil {
			result, err = run(c)
		}
		a := answer{ID: c.ID, At: unixMs(begun), Ms: float64(time.Since(begun).Microseconds()) / 1e3, Result: result}
		if err != nil {
			a.Error = err.Error()
		}
		if answers.Encode(a) != nil {
			return
		}
	}
}

func run(c command, cluster *cluster, server *server) (any, error) {
	switch {
	case c.Apply != "":
		return cluster.apply(c.Apply)
	case c.Delete != "":
		return cluster.delete(c.Delete)
	case c.Dump != "":
		return server.dump(c.Dump)
	case c.Listen != nil:
		return server.listen(*c.Listen)
	case c.Close:
		server.close()
		return nil, nil
	case c.Settle:
		return nil, server.settle()
	case c.Rotate != "":
		return nil, server.rotate(c.Rotate)
	}
	return nil, fmt.Errorf("no command")
}

func unixMs(t time.Time) float64 {
	return float64(t.UnixMicro()) / 1e3
}
