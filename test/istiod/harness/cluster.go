// Owns the Kubernetes API of istiod: objects from YAML in the trackers of istio's fake clients, and token reviews.
// Must not know discovery.

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	istiofake "istio.io/client-go/pkg/clientset/versioned/fake"
	authentication "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"
	gatewayfake "sigs.k8s.io/gateway-api/pkg/client/clientset/versioned/fake"

	"istio.io/istio/pkg/config"
	"istio.io/istio/pkg/config/schema/gvk"
	"istio.io/istio/pkg/kube"
)

type cluster struct {
	reviewer tokenReviewer
	client   kube.Client
}

func newCluster(reviewer tokenReviewer) *cluster {
	return &cluster{reviewer: reviewer}
}

// use takes the client that istiod was given.
func (c *cluster) use(client kube.Client) {
	c.client = client
	client.Kube().(*fake.Clientset).PrependReactor("create", "tokenreviews", c.reviewer.review)
}

// object is one document of YAML with its place in the API.
type object struct {
	runtime.Object
	resource  schema.GroupVersionResource
	namespace string
	name      string
}

func (o object) String() string {
	return fmt.Sprintf("%s %s/%s", o.resource.Resource, o.namespace, o.name)
}

// apply creates each object, or replaces it whole, its status too. Gives what it did, stops at the first error.
func (c *cluster) apply(text string) ([]string, error) {
	return c.each(text, func(tracker k8stesting.ObjectTracker, o object) error {
		err := tracker.Update(o.resource, o.Object, o.namespace)
		if apierrors.IsNotFound(err) {
			return tracker.Create(o.resource, o.Object, o.namespace)
		}
		return err
	})
}

// delete removes each object by name; what is not there is an error.
func (c *cluster) delete(text string) ([]string, error) {
	return c.each(text, func(tracker k8stesting.ObjectTracker, o object) error {
		return tracker.Delete(o.resource, o.namespace, o.name)
	})
}

func (c *cluster) each(text string, do func(k8stesting.ObjectTracker, object) error) ([]string, error) {
	objects, err := decode(text)
	if err != nil {
		return nil, err
	}
	done := []string{}
	for _, o := range objects {
		if err := do(c.tracker(o.resource.Group), o); err != nil {
			return done, fmt.Errorf("%s: %w", o, err)
		}
		done = append(done, o.String())
	}
	return done, nil
}

// tracker is the store behind the fake client of an API group; its watchers see every change.
func (c *cluster) tracker(group string) k8stesting.ObjectTracker {
	switch {
	case strings.HasSuffix(group, "istio.io"):
		return c.client.Istio().(*istiofake.Clientset).Tracker()
	case strings.HasPrefix(group, "gateway.networking."):
		return c.client.GatewayAPI().(*gatewayfake.Clientset).Tracker()
	default:
		return c.client.Kube().(*fake.Clientset).Tracker()
	}
}

func decode(text string) ([]object, error) {
	documents := yaml.NewYAMLToJSONDecoder(bytes.NewReader([]byte(text)))
	decoder := kube.IstioCodec.UniversalDeserializer()
	objects := []object{}
	for {
		var raw runtime.RawExtension
		if err := documents.Decode(&raw); errors.Is(err, io.EOF) {
			return objects, nil
		} else if err != nil {
			return nil, err
		}
		if len(raw.Raw) == 0 || string(raw.Raw) == "null" {
			continue
		}
		o, kind, err := decoder.Decode(raw.Raw, nil, nil)
		if err != nil {
			return nil, err
		}
		resource, ok := gvk.ToGVR(config.FromKubernetesGVK(*kind))
		if !ok {
			return nil, fmt.Errorf("istiod does not know %s", kind)
		}
		accessor, err := meta.Accessor(o)
		if err != nil {
			return nil, err
		}
		objects = append(objects, object{o, resource, accessor.GetNamespace(), accessor.GetName()})
	}
}

// tokenReviewer stands in for the API server's judgement alone: a token is good while it is the content of a file.
// What istiod asks and makes of the answer is its own.
type tokenReviewer struct {
	file    string
	account string
}

func (r tokenReviewer) review(action k8stesting.Action) (bool, runtime.Object, error) {
	review := action.(k8stesting.CreateAction).GetObject().(*authentication.TokenReview).DeepCopy()
	good, err := os.ReadFile(r.file)
	if token := strings.TrimSpace(string(good)); err != nil || token == "" || review.Spec.Token != token {
		review.Status.Error = "invalid bearer token"
		return true, review, nil
	}
	namespace, name, _ := strings.Cut(r.account, "/")
	review.Status.Authenticated = true
	review.Status.Audiences = review.Spec.Audiences
	review.Status.User = authentication.UserInfo{
		Username: "system:serviceaccount:" + namespace + ":" + name,
		Groups:   []string{"system:serviceaccounts"},
	}
	return true, review, nil
}
