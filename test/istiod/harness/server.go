// Owns what istiod's clients reach: its gRPC servers on loopback, plain and TLS, with istiod's own options and
// authenticator; and what it says of itself. Must not know Kubernetes objects.

package main

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http/httptest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	istiogrpc "istio.io/istio/pilot/pkg/grpc"
	"istio.io/istio/pilot/test/xds"
	"istio.io/istio/pkg/config/constants"
	"istio.io/istio/pkg/keepalive"
	"istio.io/istio/pkg/security"
	"istio.io/istio/security/pkg/server/ca/authenticate/kubeauth"
)

// Longer than istiod's debounce of 100 ms, so that quiet means pushed and answered.
const (
	quiet         = 150 * time.Millisecond
	settleTimeout = 15 * time.Second
)

// addresses to listen on, HOST:PORT with port 0 for any; and where it came to be. Empty: not at all.
type addresses struct {
	Plain string `json:"plain,omitempty"`
	TLS   string `json:"tls,omitempty"`
}

type server struct {
	discovery    *xds.FakeDiscoveryServer
	options      *keepalive.Options
	certificates *certificates
	running      []*grpc.Server
}

func newServer(discovery *xds.FakeDiscoveryServer, directory string, maxAge time.Duration) (*server, error) {
	s := &server{discovery: discovery, options: keepalive.DefaultOption()}
	if maxAge > 0 {
		s.options.MaxServerConnectionAge = maxAge
	}
	if directory != "" {
		var err error
		if s.certificates, err = newCertificates(directory); err != nil {
			return nil, err
		}
	}
	// istiod asks for a token on TLS connections only.
	discovery.Discovery.Authenticators = []security.Authenticator{kubeauth.NewKubeJWTAuthenticator(
		discovery.Env().Watcher, discovery.KubeClient().Kube(), constants.DefaultClusterName, nil, nil)}
	return s, nil
}

func (s *server) listen(at addresses) (addresses, error) {
	var bound addresses
	var err error
	if at.Plain != "" {
		if bound.Plain, err = s.serve(at.Plain); err != nil {
			return bound, err
		}
	}
	if at.TLS != "" {
		if s.certificates == nil {
			return bound, fmt.Errorf("no --tls-directory was given")
		}
		creds := credentials.NewTLS(&tls.Config{
			GetCertificate: s.certificates.current,
			MinVersion:     tls.VersionTLS12,
		})
		bound.TLS, err = s.serve(at.TLS, grpc.Creds(creds))
	}
	return bound, err
}

func (s *server) serve(address string, more ...grpc.ServerOption) (string, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return "", err
	}
	options := append(istiogrpc.ServerOptions(s.options, func(int64) {}), more...)
	g := grpc.NewServer(options...)
	s.discovery.Discovery.Register(g)
	s.running = append(s.running, g)
	go func() { _ = g.Serve(listener) }()
	return listener.Addr().String(), nil
}

// close cuts every connection; istiod's index lives on.
func (s *server) close() {
	for _, g := range s.running {
		g.Stop()
	}
	s.running = nil
}

// dump gives a debug page of istiod as it is.
func (s *server) dump(page string) (json.RawMessage, error) {
	response := httptest.NewRecorder()
	s.discovery.DiscoveryDebug.ServeHTTP(response, httptest.NewRequest("GET", "/debug/"+page, nil))
	if response.Code != 200 {
		return nil, fmt.Errorf("/debug/%s: %d %s", page, response.Code, response.Body)
	}
	return response.Body.Bytes(), nil
}

// settle waits until no event has reached istiod for a while and every event has been pushed.
func (s *server) settle() error {
	inbound, committed := s.discovery.Discovery.InboundUpdates, s.discovery.Discovery.CommittedUpdates
	deadline := time.Now().Add(settleTimeout)
	seen, since := inbound.Load(), time.Now()
	for time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
		if now := inbound.Load(); now != seen {
			seen, since = now, time.Now()
		}
		if time.Since(since) >= quiet && committed.Load() == seen {
			return nil
		}
	}
	return fmt.Errorf("istiod did not come to rest in %s", settleTimeout)
}

func (s *server) rotate(what string) error {
	if s.certificates == nil {
		return fmt.Errorf("no --tls-directory was given")
	}
	return s.certificates.rotate(what == "root")
}
