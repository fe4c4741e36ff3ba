// Package proxy asks a proxy of a Teleport cluster what it tells everybody, by its /webapi/ping. It logs in nowhere.
package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"fleetctl/enroll/versions"
	"fleetctl/remote"
)

// Editions that a proxy names (Teleport 17.3 and later).
const (
	EditionEnterprise = "ent"
	EditionCommunity  = "community"
	EditionOSS        = "oss" // built by somebody else than the maker
)

// Answer is what a proxy tells of its cluster (api/client/webclient, webclient.go@0003e544).
type Answer struct {
	Time    time.Time        // its clock: the Date of its answer; zero when it tells none
	Version versions.Version // zero when it tells none
	Cluster string           // the cluster's name; "" when it tells none
	Edition string           // one of the editions; "" before 17.3
	FIPS    bool             // it uses FIPS-compliant cryptography alone; false before 17.3, too
}

// ErrNoTeleport is an answer that no proxy of Teleport gives.
var ErrNoTeleport = errors.New("no proxy of Teleport answers there")

// errNoDate is an answer of a proxy without its time.
var errNoDate = errors.New("it tells no time")

// maxAnswer bounds the answer, in bytes; a real one has one to three KB.
const maxAnswer = 256 << 10

// Ask asks the proxy at host:port. The proxy's certificate is verified, but for its dates: by a clock that is wrong they can't be.
func Ask(ctx context.Context, addr string) (Answer, error) { return ask(ctx, addr, nil) }

// Time is Ask for the proxy's clock alone, of anything that answers there.
func Time(ctx context.Context, addr string) (time.Time, error) { return clock(ctx, addr, nil) }

func clock(ctx context.Context, addr string, roots *x509.CertPool) (time.Time, error) {
	a, err := ask(ctx, addr, roots)
	switch {
	case err != nil && !errors.Is(err, ErrNoTeleport):
		return time.Time{}, err
	case a.Time.IsZero():
		return time.Time{}, fmt.Errorf("%s: %w", pingOf(addr), errNoDate)
	}
	return a.Time, nil
}

func pingOf(addr string) string {
	return "https://" + strings.TrimSuffix(addr, ":443") + "/webapi/ping"
}

// ask trusts these roots; nil: the system's. What is no answer of Teleport is ErrNoTeleport, with the time that it tells.
func ask(ctx context.Context, addr string, roots *x509.CertPool) (a Answer, err error) {
	client, idle := newClient(roots)
	defer idle()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, pingOf(addr), nil)
	if err != nil {
		return a, err
	}
	res, err := client.Do(req)
	if e := (*url.Error)(nil); errors.As(err, &e) { // it names the address as Go quotes it
		err = fmt.Errorf("%s: %w", pingOf(addr), e.Err)
	}
	if err != nil {
		return a, err
	}
	defer func() { _ = res.Body.Close() }() // it was only read
	if at, err := http.ParseTime(res.Header.Get("Date")); err == nil {
		a.Time = at
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return a, err
	}
	if res.StatusCode != http.StatusOK || !a.parse(body) {
		return a, fmt.Errorf("%s: %w", pingOf(addr), ErrNoTeleport)
	}
	return a, nil
}

// parse reads the document, and says whether it is one.
func (a *Answer) parse(body []byte) bool {
	var doc struct {
		Version string `json:"server_version"`
		Cluster string `json:"cluster_name"`
		Edition string `json:"edition"`
		FIPS    bool   `json:"fips"`
	}
	if json.Unmarshal(body, &doc) != nil || doc.Version == "" {
		return false
	}
	a.Version, _ = versions.Parse(doc.Version)
	a.Cluster, a.Edition, a.FIPS = remote.Clean(doc.Cluster), remote.Clean(doc.Edition), doc.FIPS
	return true
}

func newClient(roots *x509.CertPool) (client http.Client, idle func()) {
	transport := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // it is one (net/http)
	// The dates of the proxy's certificate can't be checked by a clock that may be wrong; everything else is.
	transport.TLSClientConfig = &tls.Config{ //nolint:gosec // it is verified
		MinVersion: tls.VersionTLS12, InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error { return verifyUndated(state, roots) },
	}
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return http.Client{Transport: transport, CheckRedirect: stay}, transport.CloseIdleConnections
}

// verifyUndated verifies a server's certificate as of a time at which it is valid.
func verifyUndated(state tls.ConnectionState, roots *x509.CertPool) error {
	leaf := state.PeerCertificates[0]
	opts := x509.VerifyOptions{
		DNSName: state.ServerName, CurrentTime: leaf.NotBefore.Add(time.Second), Intermediates: x509.NewCertPool(), Roots: roots,
	}
	for _, c := range state.PeerCertificates[1:] {
		opts.Intermediates.AddCert(c)
	}
	_, err := leaf.Verify(opts)
	return err
}
