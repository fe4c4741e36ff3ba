package token

import (
	"context"
	"fmt"
	"testing"

	"fleetctl/enroll/config"
	"fleetctl/enroll/enrolltest"
	"fleetctl/enroll/store"
	"fleetctl/enroll/tpm"
	"fleetctl/enroll/work"
)

const benchFleet = 20_000

// benchStore holds a fleet; ca issued its certificates, if there is one.
func benchStore(b *testing.B, hosts int, ca *enrolltest.Authority) store.Store {
	b.Helper()
	st := enrolltest.Store(b)
	var certs [][]byte
	if ca != nil {
		for i := range 200 {
			certs = append(certs, ca.Leaf(b, int64(i+1), 5))
		}
	}
	items := make([]int, hosts)
	work.Each(b.Context(), 200, 0, items, func(_ context.Context, i int, _ int) {
		id := enrolltest.Accepted("", i).Accepted
		if ca != nil {
			id.EKCert = certs[i%len(certs)]
		}
		o := store.Observation{Host: fmt.Sprintf("host-%05d.example.com", i), Run: 1, At: enrolltest.Time, Outcome: "ok", Identity: id}
		if _, err := st.Put(b.Context(), o); err != nil {
			b.Error(err)
		}
	})
	return st
}

func benchConfig() config.Config {
	cfg := config.Default()
	cfg.Bot = config.Bot{Name: "fleet", Roles: []string{"r"}}
	return cfg
}

// BenchmarkTokens20000 makes and writes the tokens of 20,000 hosts: for the first time, and when nothing is new.
func BenchmarkTokens20000(b *testing.B) {
	ca := enrolltest.NewAuthority(b, "A")
	for name, authority := range map[string]*enrolltest.Authority{"hashes": nil, "certificates": ca} {
		b.Run(name, func(b *testing.B) {
			opts := Options{Persist: true, Now: enrolltest.Time}
			if authority != nil {
				opts.CAs = tpm.NewCASet(authority.Cert)
			}
			st := benchStore(b, benchFleet, authority)
			dir := b.TempDir()
			for _, run := range []string{"first", "again"} {
				b.Run(run, func(b *testing.B) {
					for range b.N {
						set, err := Make(b.Context(), st, benchConfig(), opts)
						if err != nil {
							b.Fatal(err)
						}
						if _, err := set.Write(dir); err != nil {
							b.Fatal(err)
						}
						b.ReportMetric(float64(len(set.Tokens)), "tokens")
					}
				})
			}
		})
	}
}
