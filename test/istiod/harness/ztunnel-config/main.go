// Owns a program that is `istioctl ztunnel-config` and nothing else of istioctl.
// Must not know where the dump that it reads comes from.

package main

import (
	"os"

	"istio.io/istio/istioctl/pkg/cli"
	"istio.io/istio/istioctl/pkg/ztunnelconfig"
)

func main() {
	if err := ztunnelconfig.ZtunnelConfig(cli.NewCLIContext(nil)).Execute(); err != nil {
		os.Exit(1)
	}
}
