package tctl

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
)

// errNoTokens is a list of tokens that cannot be read. It quotes nothing: names of tokens may be secrets.
var errNoTokens = errors.New("tctl get tokens: printed no list of tokens")

// Tokens reads all tokens of the cluster. The names of those of other join methods than tpm are secrets: whoever knows
// one joins.
func (t Tctl) Tokens(ctx context.Context) ([]json.RawMessage, error) {
	out, err := t.get(ctx, "get", "tokens", "--format=json")
	if err != nil {
		return nil, err
	}
	out = bytes.TrimSpace(out)
	var list []json.RawMessage
	switch {
	case len(out) == 0:
		return nil, nil
	case out[0] == '{' && json.Valid(out):
		return []json.RawMessage{out}, nil
	case json.Unmarshal(out, &list) != nil:
		return nil, errNoTokens
	}
	return list, nil
}
