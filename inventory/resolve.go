package inventory

import "fleetctl/inventory/values"

// Hidden says whether some of a value is encrypted, or was: no such value may be shown.
func Hidden(v any) bool { return values.Hidden(v) }

// Resolved is a variable as Ansible would make it.
type Resolved struct {
	Value  any  // nil, bool, int, *big.Int, float64, string, []any or map[string]any
	Secret bool // some of it is encrypted where it was written
}

// Var is a variable of the host: decrypted, and with its expressions evaluated. A variable that isn't there is nil, and so
// is one that is omitted.
func (h Host) Var(name string) (Resolved, error) {
	v, ok := h.Vars[name]
	if !ok {
		return Resolved{}, nil
	}
	value, secret, err := h.scope().Resolve(v)
	return Resolved{Value: value, Secret: secret}, err
}

// Sealed says whether one of the variables is encrypted where it was written, or refers to something that is.
func (h Host) Sealed(names ...string) bool {
	for _, name := range names {
		if v, _ := h.Var(name); v.Secret { // also when it can't be decrypted
			return true
		}
	}
	return false
}

// ignoresVault says whether passwords that nothing decrypts are passed over.
func (h Host) ignoresVault() bool { return h.scopes != nil && h.scopes.inv.keys.ignore }

// clear is a value in which everything that can be decrypted is.
func (k *keys) clear(v any) any {
	switch v := v.(type) {
	case values.Secret:
		return k.clear(v.Reveal())
	case values.Vault:
		if text, err := k.open(v); err == nil {
			return text
		}
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = k.clear(item)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, item := range v {
			out[name] = k.clear(item)
		}
		return out
	}
	return v
}
