package tctl

import "context"

// LockInstance ends the credentials of one bot instance at once, and keeps it from getting new ones (Teleport 18 and
// later).
func (t Tctl) LockInstance(ctx context.Context, id, message string) error {
	return t.write(ctx, t.Stdin, "lock", "--bot-instance-id="+id, "--message="+message)
}
