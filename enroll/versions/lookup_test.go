package versions

import "testing"

func TestTheTableIsInOrder(t *testing.T) {
	if len(table) != len(entries) {
		t.Errorf("%d entries, %d capabilities: one is there twice", len(entries), len(table))
	}
	for _, e := range entries {
		if e.Title == "" || e.Group == "" || len(e.Ranges) == 0 {
			t.Errorf("%s: no title, group or range", e.Capability)
		}
		for i, r := range e.Ranges {
			if r.How == "" || r.Source == "" || !r.Open() && r.To.Compare(r.From) < 0 {
				t.Errorf("%s: %s: no source, or upside down", e.Capability, r)
			}
			if i > 0 && (e.Ranges[i-1].Open() || e.Ranges[i-1].To.Compare(r.From) >= 0) {
				t.Errorf("%s: %s overlaps %s", e.Capability, r, e.Ranges[i-1])
			}
		}
	}
}

// TestEveryRangeEndsWhereItSays asks for the versions on both sides of every edge of every range.
func TestEveryRangeEndsWhereItSays(t *testing.T) {
	for _, e := range entries {
		for _, r := range e.Ranges {
			want := Yes
			if r.Vague {
				want = Unknown
			}
			if got := Has(e.Capability, r.From); got != want {
				t.Errorf("%s in %s: %s", e.Capability, r.From, got)
			}
			if got := Has(e.Capability, r.To); !r.Open() && got != want {
				t.Errorf("%s in %s: %s", e.Capability, r.To, got)
			}
			if before, ok := previous(r.From); ok && Has(e.Capability, before) != No && !inRange(e, before) {
				t.Errorf("%s in %s: %s", e.Capability, before, Has(e.Capability, before))
			}
		}
	}
}

// previous is the release before one of the same minor version.
func previous(v Version) (Version, bool) {
	return release(v.major, v.minor, v.patch-1), v.patch > 0
}

func inRange(e Entry, v Version) bool {
	_, in := e.nearest(v)
	return in
}

func TestWhatAVersionHas(t *testing.T) {
	for _, c := range []struct {
		capability Capability
		version    string
		want       Answer
	}{
		{StartPIDFile, "15.3.0", No}, {StartPIDFile, "16.4.7", No}, {StartPIDFile, "17.7.9", No},
		{StartPIDFile, "17.7.10-rc.1", No}, {StartPIDFile, "17.7.10", Yes}, {StartPIDFile, "17.8.0", Yes},
		{StartPIDFile, "18.0.0", No}, {StartPIDFile, "18.3.2", No}, {StartPIDFile, "18.4.0-rc.1", No},
		{StartPIDFile, "18.4.0", Yes}, {StartPIDFile, "19.0.0", Yes}, {StartPIDFile, "20.0.0", Yes},
		{StartPIDFile, "19.0.0-dev", Unknown}, {StartPIDFile, "", Unknown}, {StartPIDFile, "14.0.0", No},
		{StartPIDFile, "17.7.10+ent", Yes},
		{WaitCommand, "17.7.16", No}, {WaitCommand, "18.6.3", No}, {WaitCommand, "18.6.4", Yes},

		{StrictTopLevel, "15.3.0", Yes}, {StrictTopLevel, "16.4.7", Yes}, {StrictTopLevel, "17.2.7", Yes},
		{StrictTopLevel, "17.2.8", No}, {StrictTopLevel, "18.0.0", No}, {StrictTopLevel, "14.3.3", Unknown},
		{StrictTopLevel, "17.2.8-rc.1", No}, {CredentialTTL, "17.2.8-rc.1", No},
		{CredentialTTL, "17.2.7", No}, {CredentialTTL, "17.2.8", Yes}, {CertificateTTL, "15.0.0", Yes},
		{CertificateTTL, "18.9.0", Yes}, {CertificateTTL, "14.0.0", Yes}, {CertificateTTL, "13.0.0", Unknown},
		{ServicesTakeOutputs, "15.4.8", No}, {ServicesTakeOutputs, "15.4.9", Yes}, {ServicesTakeOutputs, "16.0.4", No},
		{ServicesTakeOutputs, "16.1.0", Yes}, {ServicesTakeOutputs, "19.0.0-dev", Unknown},
		{ServicesTakeOutputs, "16.0.0-rc.1", No},
		{ServiceRoles, "18.9.0", Yes}, {ServiceRoles, "19.0.0-rc.1", No}, {ServiceRoles, "19.0.0", No}, {ServiceRoles, "20.0.0", No},
		{ServiceName, "17.5.3", No}, {ServiceName, "17.5.4", Yes}, {ServiceName, "18.0.1", No}, {ServiceName, "18.0.2", Yes},
		{AuthServerMayBeProxy, "18.99.0", Yes}, {AuthServerMayBeProxy, "19.0.0", No},

		{RejoinFailureExits, "17.5.2", Yes}, {RejoinFailureExits, "17.5.3", No}, {RejoinFailureExits, "18.0.0", Yes},
		{RejoinFailureExits, "18.0.1", No}, {RejoinFailureExits, "18.0.0-rc.1", Unknown}, {RejoinFailureExits, "20.0.0", No},
		{ReadyzSticky, "17.7.16", Yes}, {ReadyzSticky, "17.7.17", Unknown}, {ReadyzSticky, "18.7.6", Yes}, {ReadyzSticky, "18.8.0", No},

		{TPMJoin, "15.2.9", No}, {TPMJoin, "15.3.0-rc.1", No}, {TPMJoin, "15.3.0", Yes}, {TPMJoin, "9.0.0", No},
		{TokenUnknownFieldsRefused, "17.7.16", No}, {TokenUnknownFieldsRefused, "18.0.0-rc.1", Unknown},
		{TokenUnknownFieldsRefused, "18.0.0", Yes},
		{BotInstanceTimes, "16.4.7", No}, {BotInstanceTimes, "16.4.8", Unknown}, {BotInstanceTimes, "17.0.0", No},
		{BotInstanceTimes, "17.5.0", No}, {BotInstanceTimes, "17.5.1", Yes},
		{SerialOnlyRule, "18.10.0", Yes}, {SerialOnlyRule, "18.10.1", No}, {SerialOnlyRule, "19.0.0", No},
		{UpdaterManagesTbot, "17.7.16", No}, {UpdaterManagesTbot, "18.4.0", Yes},
		{"no.such.thing", "17.0.0", Unknown},
	} {
		got := Has(c.capability, v(t, c.version))
		if got != c.want {
			t.Errorf("%s in %q: %s, not %s", c.capability, c.version, got, c.want)
		}
		if s, p := surely(c.capability, v(t, c.version)), Possibly(c.capability, v(t, c.version)); s != (got == Yes) || p != (got != No) {
			t.Errorf("%s in %q: %s, surely %v, possibly %v", c.capability, c.version, got, s, p)
		}
	}
}

func TestHowSureAnAnswerIs(t *testing.T) {
	for _, c := range []struct {
		capability         Capability
		version            string
		sure, extrapolated bool
		how                How
	}{
		{StartPIDFile, "17.7.10", true, false, FromPR},
		{StartPIDFile, "17.7.9", true, false, FromPR},
		{StartPIDFile, "17.7.17", false, true, FromPR},
		{StartPIDFile, "18.9.0-rc.2", true, false, FromPR},
		{StartPIDFile, "18.9.0", false, true, FromPR},
		{StartPIDFile, "19.0.0", false, true, FromPR},
		{StartPIDFile, "20.0.0", false, true, FromPR},
		{StartPIDFile, "", false, false, ""},
		{StrictTopLevel, "17.2.8", true, false, FromSource},
		{ServicesTakeOutputs, "15.4.8", false, false, Inferred},
		{ServicesTakeOutputs, "16.0.4", true, false, FromChangelog},
		{RejoinFailureExits, "18.0.0-rc.1", false, false, FromChangelog},
	} {
		f := look(c.capability, v(t, c.version))
		if f.Sure() != c.sure || f.Extrapolated != c.extrapolated || f.How != c.how {
			t.Errorf("%s in %q: sure %v, %+v", c.capability, c.version, f.Sure(), f)
		}
	}
}

func TestWhatAThingNeeds(t *testing.T) {
	for c, want := range map[Capability]string{
		TypeCapability("kubernetes/argo-cd"): "17.7.4 or 18.1.7", TPMJoin: "15.3.0", BotInstanceTimes: "17.5.1", "no.such.thing": "",
	} {
		if got := Needs(c); got != want {
			t.Errorf("%s: %q, not %q", c, got, want)
		}
	}
}
