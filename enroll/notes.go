package enroll

import (
	"time"

	"fleetctl/enroll/outcome"
	"fleetctl/enroll/store"
	"fleetctl/enroll/token"
)

// Note is something that happened on the way and that a person should hear of. The words are for whoever prints it.
type Note interface{ note() }

// Notes.
type (
	// FileWritten is a file of out/ that was changed or removed.
	FileWritten struct{ Path string }
	// FileDiffers is a file of out/ that a dry run would change.
	FileDiffers struct{ Path string }
	// Applied is something of the cluster that was changed: "bot/fleet", "token/fleet-2".
	Applied struct{ What string }
	// RolesKept is a bot whose roles in the cluster are not those of fleet.yaml, and stay.
	RolesKept struct{ Bot token.BotChange }
	// TokensMade is what the records make of the fleet.
	TokensMade struct{ Set *token.Set }
	// ClusterDiffers is what would be changed in the cluster, or is about to be.
	ClusterDiffers struct{ Diff token.Diff }
	// ClusterAsItShouldBe says that there was nothing to apply or to show.
	ClusterAsItShouldBe struct{ Applying bool }
	// ClusterSilent says that something could not be found out from the cluster, and that the use case goes on without.
	ClusterSilent struct {
		About ClusterSubject
		Err   error
	}
	// RuleAdopted is a rule that somebody else wrote and that is ours from now on.
	RuleAdopted struct{ Adoption Adoption }
	// RuleNotAdopted is one that cannot be taken over, and why.
	RuleNotAdopted struct{ Why string }
	// HostRefused is a result that became bad after the host's turn: another host presents the same EK, or the cluster
	// doesn't confirm its join.
	HostRefused struct{ Result outcome.Result }
	// HostWarned is a host that keeps its EK although another one presents it, too.
	HostWarned struct {
		Host   string
		Reason outcome.Reason
	}
	// KeysToTrust are host keys that are about to be recorded, if somebody says yes.
	KeysToTrust struct{ Hosts []KnownHost }
	// RolloutStopped is a rollout that ended before all hosts had been started.
	RolloutStopped struct {
		Why  string
		Left int // hosts that were not started
	}
	// NothingLeft says that an earlier run finished all of the hosts.
	NothingLeft struct{ Command string }
	// RuleGone is a host whose rule and record are gone, and which was not contacted.
	RuleGone struct{ Host string }
	// CredentialsLive says how long credentials that were issued live on, and how to end them.
	CredentialsLive struct {
		TTL       string // "" for tbot's default
		Bot       string
		Instances []HostInstance // of hosts whose bot instance is known
		NoLock    bool           // the cluster is too old to lock one of them alone
	}
	// HostsLeave is what goes with the hosts that are to be removed.
	HostsLeave struct{ Hosts []Leaving }
	// StillAdmitted is a machine that was removed, and that a token of somebody else admits, or may.
	StillAdmitted struct {
		Host, Token, EKHash string
		May                 bool
		Why                 string // it may
	}
	// UndoPending is a host that was removed and on which something of what enroll made is left.
	UndoPending struct{ Host string }
	// Locked is a bot instance whose credentials ended.
	Locked struct{ Instance HostInstance }
	// NotLocked is one that could not be locked.
	NotLocked struct {
		Instance HostInstance
		Err      error
	}
	// CAsLeftOut is what in the files of token.ekcert_cas could not be used, by file and line.
	CAsLeftOut struct {
		Used int // certificates that could be used
		Left []string
	}
	// TbotIgnores is what tbot would ignore or refuse in the services of the chosen hosts.
	TbotIgnores struct{ Warnings []outcome.Warning }
	// FilesKept says that token files stay although they are not what the records say, and why.
	FilesKept struct {
		Dir string
		Err error
	}
	// CAsHeld says which hosts would not pass what fleet.yaml asks of a token, so that its CAs stay as they are.
	CAsHeld struct {
		Token string
		By    []token.Hold
	}
	// RecordsOld are tokens that the cluster had newer content of than the records: no rule leaves them.
	RecordsOld struct{ Tokens []string }
	// RulesOpen are rules of hosts that left the inventory, or that are kept for hosts which have not joined for long.
	RulesOpen struct{ Rules []OpenRule }
	// PolicyChanges is what in fleet.yaml differs from what was confirmed last, for the whole fleet.
	PolicyChanges struct{ Changes []string }
	// ClockOff is a controller's clock that can't be right: dates of certificates are not judged.
	ClockOff struct {
		Here    time.Time
		Cluster time.Time // the cluster's, where it is far from it; else zero
		Newest  store.Run // of the records, where it is later; else the zero Run
	}
	// PinsRotated is a cluster that has other CAs than before, and one of those that it had.
	PinsRotated struct {
		Cluster  string
		Was, Now []string
	}
	// TokenAlarm is something about a token in the cluster that a person should hear of.
	TokenAlarm struct{ Alarm token.Alarm }
	// RulesKept says which rules stay in tokens until their hosts have joined with others.
	RulesKept struct{ Kept map[string][]token.Rule }
	// HalfWay says that files were written with the rules that hosts have beside those that they shall have: others are to
	// apply them, and to come back when the hosts have joined.
	HalfWay struct{}
	// Learned is what the cluster knew better than the records.
	Learned struct{ Lesson token.Lesson }
	// JoinsVerified says for how many hosts which evidence of their join counted.
	JoinsVerified struct {
		By map[string]int // "readyz", "journal", "cluster", "readyz+cluster"…
	}
	// TombstonesCount is what a file says of machines that were taken out and that the records had lost.
	TombstonesCount struct {
		Machines []store.Machine
		File     string
	}
	// HookFailed is a hook after a run that failed.
	HookFailed struct{ Err error }
)

// HostInstance is the bot instance of a host.
type HostInstance struct {
	Host, Instance string
	Until          time.Time // its credentials are valid, unless they are renewed
}

// ClusterSubject is what a cluster was asked for.
type ClusterSubject string

// Cluster subjects.
const (
	AboutTokens  ClusterSubject = "tokens" // bot and tokens, as they are there
	AboutJoins   ClusterSubject = "joins"  // who joined
	AboutVersion ClusterSubject = "version"
	AboutAll     ClusterSubject = "all" // there is no tctl

	AboutFleet    ClusterSubject = "fleet"    // which tokens the fleet has, beside those that the records know
	AboutCluster  ClusterSubject = "cluster"  // whether it is that of the records
	AboutAdmitted ClusterSubject = "admitted" // which tokens admit a machine
)

func (FileWritten) note()         {}
func (FileDiffers) note()         {}
func (Applied) note()             {}
func (RolesKept) note()           {}
func (TokensMade) note()          {}
func (ClusterDiffers) note()      {}
func (ClusterAsItShouldBe) note() {}
func (ClusterSilent) note()       {}
func (RuleAdopted) note()         {}
func (RuleNotAdopted) note()      {}
func (HostRefused) note()         {}
func (HostWarned) note()          {}
func (KeysToTrust) note()         {}
func (NothingLeft) note()         {}
func (RolloutStopped) note()      {}
func (RuleGone) note()            {}
func (CredentialsLive) note()     {}
func (CAsLeftOut) note()          {}
func (TbotIgnores) note()         {}
func (FilesKept) note()           {}
func (CAsHeld) note()             {}
func (RecordsOld) note()          {}
func (RulesOpen) note()           {}
func (PolicyChanges) note()       {}
func (ClockOff) note()            {}
func (PinsRotated) note()         {}
func (TokenAlarm) note()          {}
func (RulesKept) note()           {}
func (HalfWay) note()             {}
func (Learned) note()             {}
func (HostsLeave) note()          {}
func (StillAdmitted) note()       {}
func (UndoPending) note()         {}
func (Locked) note()              {}
func (NotLocked) note()           {}
func (JoinsVerified) note()       {}
func (TombstonesCount) note()     {}
func (HookFailed) note()          {}

// Adoption is a rule of the cluster that became a record.
type Adoption struct {
	Host  string `json:"host"`
	Token string `json:"token"`
}
