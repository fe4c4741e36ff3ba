package enroll

import (
	"context"
	"slices"

	"fleetctl/enroll/config"
	"fleetctl/enroll/store"
)

// botNames are the bots that hosts of ours may have joined as: that of fleet.yaml and those of published tokens. There
// are none where tokens are for agents.
func botNames(ctx context.Context, st store.Store, cfg config.Config) ([]string, error) {
	var names []string
	if cfg.Bot.Name != "" {
		names = append(names, cfg.Bot.Name)
	}
	if st == nil {
		return names, nil
	}
	tokens, err := st.Tokens(ctx)
	if err != nil {
		return nil, err
	}
	for _, t := range tokens {
		if t.Bot != "" {
			names = append(names, t.Bot)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}
