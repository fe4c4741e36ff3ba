package cluster

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"time"

	headerv1 "github.com/gravitational/teleport/api/gen/proto/go/teleport/header/v1"
	machineidv1 "github.com/gravitational/teleport/api/gen/proto/go/teleport/machineid/v1"
	workloadidentityv1 "github.com/gravitational/teleport/api/gen/proto/go/teleport/workloadidentity/v1"
	"github.com/gravitational/teleport/api/types"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fleetctl/test/cluster/wire"
)

// maxRecords is how many authentications and heartbeats an instance keeps besides the first.
const maxRecords = 10

// Instances returns the records of a bot's instances ("" for all bots), by ID.
func (s *Store) Instances(bot string) ([]*machineidv1.BotInstance, error) {
	list, err := all(s, "bot_instance", s.instance)
	if err != nil || bot == "" {
		return list, err
	}
	var of []*machineidv1.BotInstance
	for _, instance := range list {
		if instance.GetSpec().GetBotName() == bot {
			of = append(of, instance)
		}
	}
	return of, nil
}

func (s *Store) instance(id string) (*machineidv1.BotInstance, error) {
	data, err := s.read("bot_instance", id)
	if err != nil {
		return nil, err
	}
	var instance machineidv1.BotInstance
	return &instance, protojson.Unmarshal(data, &instance)
}

func (s *Store) deleteInstances(bot string) error {
	list, err := s.Instances(bot)
	if err != nil {
		return err
	}
	for _, instance := range list {
		if err := os.Remove(s.path("bot_instance", instance.Spec.InstanceId)); err != nil {
			return err
		}
	}
	return nil
}

// recordJoin writes a join into the bot's instance: the one of the identity that is renewed, else a new one.
func (s *Store) recordJoin(hello wire.Hello, token *types.ProvisionTokenV2, v Verdict) (*wire.Identity, error) {
	now := time.Now().UTC()
	identity := &wire.Identity{
		Bot: token.Spec.BotName, Token: token.GetName(), EKPubHash: v.EKPubHash, Secret: randomHex(32), IssuedAt: now,
	}
	err := s.locked(func() error {
		instance := s.renewed(hello.Previous, token.Spec.BotName)
		if instance == nil {
			instance = newInstance(token.Spec.BotName)
		}
		identity.InstanceID = instance.Spec.InstanceId
		a := authentication(instance, token, v, now)
		identity.Generation = int(a.Generation)
		addAuthentication(instance, a)
		addHeartbeat(instance, heartbeat(hello.Beat, now))
		data, err := protojson.Marshal(instance)
		if err != nil {
			return err
		}
		if err := s.write("bot_instance", identity.InstanceID, data); err != nil {
			return err
		}
		secret, err := json.Marshal(identity)
		if err != nil {
			return err
		}
		return s.write("secret", identity.Secret, secret)
	})
	return identity, err
}

// renewed finds the instance that the holder of an identity's secret belongs to.
func (s *Store) renewed(secret, bot string) *machineidv1.BotInstance {
	data, err := s.read("secret", secret)
	if err != nil {
		return nil
	}
	var previous wire.Identity
	if json.Unmarshal(data, &previous) != nil || previous.Bot != bot {
		return nil
	}
	instance, err := s.instance(previous.InstanceID)
	if err != nil {
		return nil
	}
	_ = os.Remove(filepath.Join(s.dir, "secret", secret+".json"))
	return instance
}

func newInstance(bot string) *machineidv1.BotInstance {
	id := newUUID()
	return &machineidv1.BotInstance{
		Kind:     types.KindBotInstance,
		Version:  types.V1,
		Metadata: &headerv1.Metadata{Name: id},
		Spec:     &machineidv1.BotInstanceSpec{BotName: bot, InstanceId: id},
		Status:   &machineidv1.BotInstanceStatus{},
	}
}

func authentication(
	instance *machineidv1.BotInstance, token *types.ProvisionTokenV2, v Verdict, now time.Time,
) *machineidv1.BotInstanceStatusAuthentication {
	latest := instance.Status.LatestAuthentications
	generation := int32(1)
	if len(latest) > 0 {
		generation = latest[len(latest)-1].Generation + 1
	}
	return &machineidv1.BotInstanceStatusAuthentication{
		AuthenticatedAt: timestamppb.New(now),
		JoinMethod:      string(token.Spec.JoinMethod),
		JoinToken:       token.GetName(),
		Generation:      generation,
		PublicKey:       []byte("-----BEGIN"), // there are no keys here
		JoinAttrs: &workloadidentityv1.JoinAttrs{
			Meta: &workloadidentityv1.JoinAttrsMeta{
				JoinTokenName: token.GetName(), JoinMethod: string(token.Spec.JoinMethod),
			},
			Tpm: &workloadidentityv1.JoinAttrsTPM{
				EkPubHash: v.EKPubHash, EkCertSerial: v.EKSerial, EkCertVerified: v.EKVerified,
			},
		},
	}
}

func addAuthentication(instance *machineidv1.BotInstance, a *machineidv1.BotInstanceStatusAuthentication) {
	status := instance.Status
	if status.InitialAuthentication == nil {
		status.InitialAuthentication = a
	}
	status.LatestAuthentications = lastOf(append(status.LatestAuthentications, a))
}

func heartbeat(beat wire.Heartbeat, now time.Time) *machineidv1.BotInstanceStatusHeartbeat {
	return &machineidv1.BotInstanceStatusHeartbeat{
		RecordedAt:   timestamppb.New(now),
		IsStartup:    beat.Startup,
		Version:      beat.Version,
		Hostname:     beat.Hostname,
		JoinMethod:   string(types.JoinMethodTPM),
		OneShot:      beat.OneShot,
		Uptime:       durationpb.New(beat.Uptime),
		Architecture: beat.Arch,
		Os:           beat.OS,
	}
}

func addHeartbeat(instance *machineidv1.BotInstance, h *machineidv1.BotInstanceStatusHeartbeat) {
	status := instance.Status
	if status.InitialHeartbeat == nil {
		status.InitialHeartbeat = h
	}
	status.LatestHeartbeats = lastOf(append(status.LatestHeartbeats, h))
}

func lastOf[T any](list []T) []T { return list[max(0, len(list)-maxRecords):] }

// JoinedHashes returns the EKPub hashes of all TPMs that ever joined as a bot, each with the name of the token that it
// joined with last.
func (s *Store) JoinedHashes(bot string) (map[string]string, error) {
	instances, err := s.Instances(bot)
	if err != nil {
		return nil, err
	}
	hashes := map[string]string{}
	for _, instance := range instances {
		for _, a := range instance.Status.LatestAuthentications {
			hashes[a.GetJoinAttrs().GetTpm().GetEkPubHash()] = a.GetJoinAttrs().GetMeta().GetJoinTokenName()
		}
	}
	return hashes, nil
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// newUUID makes a random UUID (RFC 9562, version 4).
func newUUID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	s := hex.EncodeToString(b)
	return strings.Join([]string{s[:8], s[8:12], s[12:16], s[16:20], s[20:]}, "-")
}
