package tbot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"fleetctl/test/cluster/cli"
	"fleetctl/test/cluster/versions"
	"fleetctl/test/cluster/wire"
)

// How long a renewal that failed waits for the next attempt.
const (
	firstRetry = 1300 * time.Millisecond
	lastRetry  = time.Minute
)

// initialize gets an identity at the start. Where the version can go on with the one that it has, refused says so: then
// the renewal was refused (versions.md, D: lib/tbot/internal/identity/service.go@b2dd8891).
func (b *bot) initialize(ctx context.Context) (refused bool, err error) {
	b.log.identity("INFO", "Initializing bot identity", 205)
	stored := b.stored()
	if stored == nil {
		b.log.identity16("INFO", "Bot was unable to load a valid existing identity from the store, will attempt to join "+
			"using configured token", 218)
		b.log.identity16("INFO", "Fetching bot identity using token", 540)
	}
	identity, err := b.join(ctx, true)
	if err == nil {
		b.log.identity("INFO", "Fetched new bot identity", 281, "identity:"+b.describe(identity))
		b.log.identity16("INFO", "Identity initialized successfully", 300)
		b.health.set("identity", nil)
		b.output(identity)
		return false, nil
	}
	if stored == nil || !b.degrades() || b.config.Oneshot {
		return false, b.joinError(err)
	}
	b.log.report("Failed to renew bot identity. Will attempt to proceed with the old identity, API calls may fail",
		cli.Wrap(err, "renewing identity using Register with existing auth client"), 272)
	b.log.identity("INFO", "Unable to renew bot identity on startup. Waiting to retry", 345, fmt.Sprintf("wait:%v", firstRetry))
	b.health.set("identity", err)
	b.output(stored)
	return true, nil
}

// joinError is a first join that failed: 16 and later put their own words before the cause (versions.md, H).
func (b *bot) joinError(err error) error {
	if b.Major() >= 16 {
		return cli.Wrap(err, "joining with token")
	}
	return err
}

// stored is the identity in the storage, if it is of the configured token.
func (b *bot) stored() *wire.Identity {
	b.log.identity16("INFO", "Loading existing bot identity from store", 140, "store:"+b.config.Storage.describe())
	stored := b.config.Storage.load()
	switch {
	case stored == nil:
		b.log.identity16("INFO", "No existing bot identity found in store", 145)
		return nil
	case stored.Token != b.config.Onboarding.token:
		b.log.identity16("WARN", "Bot identity loaded from store does not match configured token", 150)
		return nil
	}
	b.log.identity16("INFO", "Loaded existing bot identity from store", 176, "identity:"+b.describe(stored))
	return stored
}

// describe is an identity in a line: samples journal-joined-15.txt and journal-joined-18.txt.
func (b *bot) describe(identity *wire.Identity) string {
	after := identity.IssuedAt.UTC().Truncate(time.Second)
	before := after.Add(b.config.ttl + time.Minute)
	return fmt.Sprintf("%s, id=%s | valid: after=%s, before=%s, duration=%s | kind=tls, renewable=false, "+
		"disallow-reissue=false, roles=[bot-%s], principals=[-teleport-internal-join], generation=%d",
		identity.Bot, identity.InstanceID, after.Format(time.RFC3339), before.Format(time.RFC3339), before.Sub(after),
		identity.Bot, identity.Generation)
}

// renew repeats the join at each interval, and at once on SIGHUP or SIGUSR1. A renewal that fails is tried again soon.
// refused: the one at the start failed. Then /readyz of some versions goes on saying so after a retry that succeeded
// (versions.md, C: #65258).
func (b *bot) renew(ctx context.Context, reload <-chan os.Signal, refused bool) error {
	sticky := refused && versions.Has("health.readyz_sticky_503", b.V)
	wait, retry, good := b.config.renewal, firstRetry, time.Now()
	if refused {
		wait = retry
	}
	for {
		select {
		case <-ctx.Done():
			b.log.line("INFO", "TBOT", "Exiting bot", "tbot/tbot.go:210")
			return nil
		case <-time.After(wait):
		case sig := <-reload:
			b.log.line("INFO", "TBOT", "Received signal, triggering reload", "tbot/tbot.go:220", fmt.Sprintf("signal:%v", sig))
		}
		identity, err := b.join(ctx, false)
		if err != nil {
			if wait, retry = retry, min(2*retry, lastRetry); errors.Is(ctx.Err(), context.Canceled) {
				continue
			}
			b.health.set("identity", err)
			b.log.report("Failed to renew bot identity, will retry", err, 290)
			if !b.degrades() && time.Since(good) > b.config.ttl {
				return cli.Wrap(err, "renewing bot identity")
			}
			continue
		}
		wait, retry, good = b.config.renewal, firstRetry, time.Now()
		b.log.identity("INFO", "Fetched new bot identity", 281, "identity:"+b.describe(identity))
		if sticky {
			sticky = false
		} else {
			b.health.set("identity", nil)
		}
		b.output(identity)
	}
}
