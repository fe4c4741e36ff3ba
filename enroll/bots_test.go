package enroll

import (
	"path/filepath"
	"slices"
	"testing"

	"fleetctl/enroll/config"
	"fleetctl/enroll/store"
)

func TestTheClusterIsAskedForTheBotsOfOurTokens(t *testing.T) {
	t.Parallel()
	st, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "fleet.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = st.Close() }()
	tokens := []store.Token{{Name: "fleet-db", Kind: "bot", Bot: "db"}, {Name: "fleet", Kind: "bot", Bot: "fleet"}, {Name: "agents", Kind: "node"}}
	if err := st.Publish(t.Context(), store.Publication{Tokens: tokens}); err != nil {
		t.Fatal(err)
	}
	got, err := botNames(t.Context(), st, config.Config{Bot: config.Bot{Name: "fleet"}})
	if want := []string{"db", "fleet"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := botNames(t.Context(), nil, config.Config{}); err != nil || len(got) != 0 {
		t.Errorf("got %q, %v", got, err)
	}
}
