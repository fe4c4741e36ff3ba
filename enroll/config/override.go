package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"fleetctl/enroll/outcome"
)

// Keys of fleet.yaml that may be said in another place, too.
const (
	KeyProxy = "cluster.proxy_server"
	KeyBot   = "bot.name"
	KeyRoles = "bot.roles"
	KeyToken = "token.name"
)

// Override is a value that takes the place of one of fleet.yaml.
type Override struct {
	Key    string   // one of the keys above
	Values []string // one, but for roles
	By     string   // who says so, for errors: "--proxy"
}

// apply lays the values over those that were read.
func (c *Config) apply(over []Override) {
	c.over = over
	for _, o := range over {
		switch value := o.Values[len(o.Values)-1]; o.Key {
		case KeyProxy:
			c.Cluster.ProxyServer, c.Cluster.AuthServer = value, ""
		case KeyBot:
			c.Bot.Name = value
		case KeyRoles:
			c.Bot.Roles = o.Values
		case KeyToken:
			c.Token.Name = value
		}
	}
}

// New is a Config without a fleet.yaml: the defaults, with these values. Paths are relative to the working directory.
func New(over ...Override) (Config, error) {
	c := numbers()
	c.Version = "v1"
	return c.finish(".", over)
}

// Placeholder stands in a fleet.yaml where somebody has to write what nobody could find out.
const Placeholder = "CHANGE-ME"

// hole is a key at which a placeholder stands.
type hole struct{ key, what string }

// holesOf are the keys at which placeholders stand, with what has to be there.
func (c Config) holesOf() (holes []hole) {
	for _, k := range []struct{ key, value, what string }{
		{"fleet", c.Fleet, "the fleet's name"},
		{KeyProxy, c.Cluster.ProxyServer, "the address of the cluster's proxy, host:port"},
		{"cluster.auth_server", c.Cluster.AuthServer, "the address of the cluster's auth server, host:port"},
		{KeyBot, c.Bot.Name, "the name of the bot that hosts join as"},
		{KeyRoles, strings.Join(c.Bot.Roles, " "), "the roles that the bot shall have"},
		{KeyToken, c.Token.Name, "the name of the join token"},
	} {
		if strings.Contains(k.value, Placeholder) {
			holes = append(holes, hole{k.key, k.what})
		}
	}
	return holes
}

// Filled says at which keys of fleet.yaml placeholders stand that have to be replaced before anything is made of them; nil for
// none.
func (c Config) Filled() error {
	var errs []error
	for _, h := range c.holes {
		errs = append(errs, c.ErrorAt(h.key, "write it there: "+h.what, "%s is a placeholder", Placeholder))
	}
	return errors.Join(errs...)
}

// overrideOf is the value that was said last for a key in another place.
func (c Config) overrideOf(key string) (Override, bool) {
	for _, o := range slices.Backward(c.over) {
		if o.Key == key {
			return o, true
		}
	}
	return Override{}, false
}

// ErrorAt is an error about the key at the dotted path, with its place in fleet.yaml or that of the nearest ancestor that
// is in the file; or with who else has said it.
func (c Config) ErrorAt(path, hint, format string, args ...any) *outcome.InputError {
	msg := fmt.Sprintf(format, args...)
	if o, ok := c.overrideOf(path); ok {
		return &outcome.InputError{Msg: o.By + ": " + msg, Hint: hint}
	}
	e := &outcome.InputError{File: c.file, Msg: path + ": " + msg, Hint: hint}
	if c.doc == nil {
		return e
	}
	if n := nodeAt(c.doc, strings.Split(path, ".")); n != nil {
		e.Line, e.Column = n.Line, n.Column
	}
	return e
}
