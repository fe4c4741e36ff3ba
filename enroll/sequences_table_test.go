package enroll

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sequences are the sequences of ordinary commands by which the life of a rule once went wrong, with the test that holds each:
// a function of this package, one of another room ("host: Test…"), or a line of a script of the command line.
var sequences = []struct{ sequence, test string }{
	// Rules leave the old token before the hosts have the new one.
	{"token.name changes, enroll --limit", "TestARenamedTokenKeepsTheRulesOfHostsThatDoNotHaveIt"},
	{"a canary that fails", "TestAFailedCanaryOfAnotherTokenLocksNobodyOut"},
	{"--resume", "TestAResumedRolloutOfAnotherTokenLocksNobodyOut"},
	{"remove of any host", "TestARemovalInTheMiddleOfAMoveLocksNobodyElseOut"},
	{"max_rules is lowered", "TestLowerMaxRulesMoveHostsWithoutLockingThemOut"},
	{"CAs are switched on", "TestCAsThatAreSwitchedOnTakeNobodyOut"},
	{"a changed fleetctl_bot", "TestAChangedBotOfAHostLocksItOutOfNothing"},
	{"two groups swap bots", "TestGroupsThatSwapBotsAreAlwaysInOneToken"},
	{"tctl dies between two tokens of a swap", "TestTctlDiesBetweenTwoTokensOfASwap"},
	{"two fleet.yaml share fleet.db", "TestTwoFleetsDoNotShareRecords"},
	{"two fleet.yaml without a fleet's name share fleet.db", "TestTwoFilesThatShareRecordsAreAChangeOfPolicy"},
	{"somebody else applies, and enroll installs alone", "TestSomebodyElseAppliesAMove"},

	// A file or the clock decides over the whole fleet.
	{"another manufacturer's CAs, refuse", "TestAnotherManufacturersCAsTakeNobodyOut"},
	{"another manufacturer's CAs, hash-only", "TestAnotherManufacturersCAsMoveNobodyUnasked"},
	{"the controller's clock is at 1970 or 2036", "TestAWrongClockMovesNobodyAndRefusesNobody"},
	{"such a clock, and new hosts", "TestNewcomersAreNotJudgedByAWrongClock"},
	{"the ekcert_cas line is deleted", "TestADeletedLineOfCAsIsConfirmedByAPerson"},

	// A token that is not ours is taken over.
	{"a token of join method iam", "TestATokenForSomethingElseIsNotTakenOver"},
	{"a hand-made tpm token of another bot", "TestATokenForSomethingElseIsNotTakenOver"},
	{"a hand-made tpm token of our bot", "TestAHandMadeTokenIsNotTakenOver"},
	{"a token of another fleet", "TestATokenOfAnotherFleetIsNotTakenOver"},
	{"not found, about an identity file", "TestWhatIsNotFoundIsNotAlwaysTheToken"},
	{"not found, in tctl's words", "tctl: TestOnlyTheResourceThatWasAskedForCountsAsMissing"},

	// remove, and the EK is still admitted.
	{"a renamed host", "TestRemovedHostThatWasRenamed"},
	{"an alias", "TestRemovedHostThatHasAnAlias"},
	{"a clone", "TestRemovedHostThatIsACloneOfAnother"},
	{"a lost db", "TestRemovedHostAfterTheRecordsWereLost"},
	{"a lost db, and the file of tombstones", "TestARemovedMachineStaysOutWhenTheRecordsAreLost"},
	{"a serial added by hand", "TestRemovedHostWithASerialThatSomebodyAdded"},
	{"the wrong cluster once", "TestRemovedOnceFromTheWrongCluster"},
	{"the wrong cluster, by any command", "TestAnotherClusterIsRefused"},
	{"a restored backup", "TestRemovedHostAfterABackupWasRestored"},
	{"forget during a scan", "TestRecordsAreNotChangedInTheMiddleOfAnotherRun"},
	{"forget, then remove", "TestRemovedHostWhoseRecordWasForgotten"},
	{"a removed host that is still in the inventory", "TestRemovedHostThatIsStillInTheInventory"},
	{"remove web-01 --limit db", "script/remove.txt: exit 2 fleetctl remove web-02 --limit web-03"},
	{"remove without a terminal", "script/remove.txt: exit 2 fleetctl remove web-01"},
	{"remove, and nobody confirms", "TestRemovedOnlyWhatSomebodyConfirmed"},
	{"remove with the host down", "TestARemovalOfHostsThatDoNotAnswer"},
	{"the next remove takes what is left", "TestWhatARemovalDidNotGetToIsTakenAwayByTheNext"},
	{"hosts that left the inventory", "TestHostsThatLeftTheInventoryAreNamed"},
	{"kept rules of hosts that don't join, or never did", "TestKeptRulesOfHostsThatDoNotJoinAreNamed"},

	// A missing fleet.db is an empty fleet.
	{"tokens --db typo.db", "script/tokens.txt: exit 2 fleetctl tokens --apply --db typo.db"},
	{"tokens --db typo.db --format terraform", "script/tokens.txt: exit 2 fleetctl tokens --format terraform --db typo.db"},
	{"a rescan after a lost db, and a second apply", "TestLostRecordsTakeNobodyOut"},
	{"the assignment after a rescan", "TestRecoverRebuildsWhatTheClusterAndTheFilesKnow"},

	// Undo.
	{"a failed upgrade with a stale .previous", "TestAFailedUpgradeDoesNotGoBackTwoVersions"},
	{"a rollback when the host's time is over", "TestARollbackHasATimeOfItsOwn"},

	// ok without a join.
	{"the first enroll fails, a reboot, the second", "TestASecondEnrollIsNotOkWithoutAJoin"},
	{"the rollout's warnings", "TestWarningsOfTheRolloutAreKeptNextToThoseOfTheScan"},
	{"a journal line of the old process", "host: TestVerifyScript"},
	{"a join of three months ago", "TestAJoinOfLongAgoIsNotOk"},
	{"tctl is down", "TestWhatCouldNotBeAskedIsNotVerified"},
	{"the cluster's name can't be read", "TestAClusterWithoutANameIsNotVerified"},
	{"the canary is the first host by place", "TestCanariesAreTheFirstHostsThatChange"},
	{"a host that facts show to be impossible", "TestHostsThatCannotBeEnrolledSpendNoBudget"},

	// Two of everything.
	{"two controllers at once", "TestTwoControllersEndAtTheUnion"},
	{"an old file is applied again", "TestAnOldFileThatIsAppliedAgainIsBehind"},
	{"what somebody did is heard by the next command", "TestEveryRunReadsBackFirst"},
	{"renames look like clones", "TestAHostWithANewNameIsNoClone"},
	{"an unproven claim", "TestAClaimNeverTakesAProvenHostOutOfTheRollout"},
	{"a fake tbot", "TestATbotThatLiesTakesNothingFromTheMachineThatItNames"},
	{"accept lets a claim replace a proof", "records: TestAClaimReplacesAProofOnlyWhenAskedFor"},
	{"swapped boards", "records: TestSwappedBoardsAreAcceptedTogether"},
	{"--limit sees aliases as duplicates", "TestANarrowedRunKnowsTheOtherNamesOfAMachine"},
	{"two aliases are worked on at once", "TestTwoNamesOfAMachineAreNeverWorkedOnAtOnce"},
	{"export and import lose proof", "records: TestAnExportRestoresItsProofs"},
}

func TestEverySequenceIsHeldByATest(t *testing.T) {
	t.Parallel()
	tests := map[string]map[string]bool{}
	for _, s := range sequences {
		if script, line, ok := strings.Cut(s.test, ": "); ok && strings.HasPrefix(script, "script/") {
			text, err := os.ReadFile(filepath.Join("../cmd/fleetctl/testdata", script))
			if err != nil || !strings.Contains(string(text), line+"\n") {
				t.Errorf("%s: %s has no line %q (%v)", s.sequence, script, line, err)
			}
			continue
		}
		room, name, ok := strings.Cut(s.test, ": ")
		if !ok {
			room, name = ".", s.test
		}
		if tests[room] == nil {
			tests[room] = testsIn(t, room)
		}
		if !tests[room][name] {
			t.Errorf("%s: %s has no test %s", s.sequence, room, name)
		}
	}
}

// testsIn are the tests of a room.
func testsIn(t *testing.T, room string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(room, "*_test.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s has no tests: %v", room, err)
	}
	found := map[string]bool{}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") {
				found[f.Name.Name] = true
			}
		}
	}
	return found
}
