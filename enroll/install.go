package enroll

import (
	"context"
	"errors"
)

// Package is a tbot to install.
type Package struct {
	Version string
}

// Push is a large file that goes to the host before the script that uses it.
type Push struct {
	Local  string `json:"local"`
	Remote string `json:"remote"`
	SHA256 string `json:"sha256"`
}

func (p *Push) send(ctx context.Context, conn Conn) error { return errors.New("not built yet") }

func (p *planner) install() {}
