package inventory

import (
	"errors"
	"strings"

	"fleetctl/inventory/values"
)

var errJinja = errors.New("holds a Jinja expression, which is not evaluated; write the value itself, or mark it !unsafe if " +
	"the braces are meant literally")

// Hidden says whether some of a value is encrypted, or was: no such value may be shown.
func Hidden(v any) bool { return values.Hidden(v) }

// Resolved is a variable as Ansible would make it.
type Resolved struct {
	Value  any  // nil, bool, int, *big.Int, float64, string, []any or map[string]any
	Secret bool // some of it is encrypted where it was written
}

// Var is a variable of the host, decrypted. A variable that isn't there is nil.
func (h Host) Var(name string) (Resolved, error) {
	r := &resolution{keys: h.keys}
	v, err := r.value(h.Vars[name])
	if err != nil {
		return Resolved{Secret: r.secret}, err
	}
	return Resolved{Value: v, Secret: r.secret}, nil
}

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

// resolution makes one variable of a host.
type resolution struct {
	keys   *keys
	secret bool
}

func (r *resolution) value(v any) (any, error) {
	switch v := v.(type) {
	case values.Secret:
		r.secret = true
		return r.value(v.Reveal())
	case values.Vault:
		r.secret = true
		return r.keys.open(v) // Ansible evaluates nothing in it
	case values.Unsafe:
		return string(v), nil
	case string:
		if strings.Contains(v, "{{") || strings.Contains(v, "{%") || strings.Contains(v, "{#") {
			return nil, errJinja
		}
		return v, nil
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			var err error
			if out[i], err = r.value(item); err != nil {
				return nil, err
			}
		}
		return out, nil
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, item := range v {
			var err error
			if out[key], err = r.value(item); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return v, nil
}
