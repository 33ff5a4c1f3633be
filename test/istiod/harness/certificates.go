// Owns a certificate authority made for this process and istiod's certificate under it.
// Must not know gRPC.

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

type certificates struct {
	directory string
	root      *x509.Certificate
	rootKey   *ecdsa.PrivateKey
	leaf      atomic.Pointer[tls.Certificate]
}

// newCertificates writes root-cert.pem into a directory that exists.
func newCertificates(directory string) (*certificates, error) {
	c := &certificates{directory: directory}
	return c, c.rotate(true)
}

// current is what new connections are shown.
func (c *certificates) current(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return c.leaf.Load(), nil
}

// rotate makes a new certificate for istiod, under a new root where asked; open connections keep the old one.
func (c *certificates) rotate(root bool) error {
	if root {
		if err := c.makeRoot(); err != nil {
			return err
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := template()
	template.DNSNames = []string{"istiod.istio-system.svc", "istiod.istio-system", "localhost"}
	template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	der, err := x509.CreateCertificate(rand.Reader, template, c.root, &key.PublicKey, c.rootKey)
	if err != nil {
		return err
	}
	c.leaf.Store(&tls.Certificate{Certificate: [][]byte{der, c.root.Raw}, PrivateKey: key})
	return nil
}

func (c *certificates) makeRoot() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := template()
	// The root's alone: a certificate whose subject is its issuer's counts as self-signed.
	template.Subject = pkix.Name{Organization: []string{"cluster.local"}}
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	if c.root, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	c.rootKey = key
	// In one step: a client may be reading.
	file := filepath.Join(c.directory, "root-cert.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(file+".new", text, 0o644); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

func template() *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	return &x509.Certificate{
		SerialNumber: serial,
		NotBefore:    time.Now().Add(-time.Minute),
		NotAfter:     time.Now().Add(24 * time.Hour),
	}
}
