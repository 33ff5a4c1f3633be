// Owns Kubernetes' own end-to-end tests of the network as a program: all that their suite sets up, and of the specs those
// of sig-network. Must not know which of them a cluster is asked for, nor the cluster.
//
//	kube-e2e.test --kubeconfig=FILE --ginkgo.focus=... and all the other flags of Kubernetes' e2e.test

package main

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"

	// The suite: what is waited for before the first spec.
	_ "k8s.io/kubernetes/test/e2e"
	// Specs; those that node tests share, the checks between pods among them, come with the suite.
	_ "k8s.io/kubernetes/test/e2e/network"

	// What the framework does beside a spec: it says what pods did where one fails.
	"k8s.io/kubernetes/test/e2e/framework"
	"k8s.io/kubernetes/test/e2e/framework/config"
	_ "k8s.io/kubernetes/test/e2e/framework/debug/init"
	_ "k8s.io/kubernetes/test/e2e/framework/metrics/init"
	_ "k8s.io/kubernetes/test/e2e/framework/node/init"
	"k8s.io/kubernetes/test/e2e/framework/testfiles"
	manifests "k8s.io/kubernetes/test/e2e/testing-manifests"
)

// outcome is what ginkgo tells that a spec failed.
type outcome struct{ failed bool }

func (o *outcome) Fail() { o.failed = true }

func main() {
	// ginkgo gives flags of Go's own tests too.
	testing.Init()
	config.CopyFlags(config.Flags, flag.CommandLine)
	framework.RegisterCommonFlags(flag.CommandLine)
	framework.RegisterClusterFlags(flag.CommandLine)
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "kube-e2e takes no arguments beside flags: %q\n", flag.Args())
		os.Exit(2)
	}
	testfiles.AddFileSource(manifests.GetE2ETestingManifestsFS())
	framework.AfterReadingAllFlags(&framework.TestContext)

	gomega.RegisterFailHandler(framework.Fail)
	suite, reporter := framework.CreateGinkgoConfig()
	var result outcome
	if !ginkgo.RunSpecs(&result, "kube-e2e", suite, reporter) || result.failed {
		os.Exit(1)
	}
}
