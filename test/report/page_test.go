package report

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"golang.org/x/net/html"
)

// fewHosts is a fleet that has a host with each of the usual troubles.
const fewHosts = 60

// TestThePageIsWholeAndAlone: every table says what it is and what its heads belong to, and nothing is asked of anybody.
func TestThePageIsWholeAndAlone(t *testing.T) {
	t.Parallel()
	file, err := os.Open(writePage(t, fewHosts))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	root, err := html.Parse(file)
	if err != nil {
		t.Fatal(err)
	}
	seen, ids := map[string]int{}, map[string]bool{}
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		seen[n.Data]++
		checkAttributes(t, n, ids)
		if n.Data == "table" && !slices.ContainsFunc(slices.Collect(n.ChildNodes()), func(c *html.Node) bool { return c.Data == "caption" }) {
			t.Errorf("a table has no caption: %v", n.Attr)
		}
	}
	for name, least := range map[string]int{
		"header": 1, "nav": 1, "main": 1, "footer": 1, "h1": 1, "section": 7, "table": 10, "svg": 12, "tr": fewHosts, "style": 1, "script": 1,
	} {
		if seen[name] < least {
			t.Errorf("the page has %d <%s>", seen[name], name)
		}
	}
	if seen["script"] != 2 || seen["h1"] != 1 {
		t.Errorf("%d scripts, %d titles", seen["script"], seen["h1"])
	}
}

// checkAttributes looks at those of one element.
func checkAttributes(t *testing.T, n *html.Node, ids map[string]bool) {
	t.Helper()
	has := map[string]string{}
	for _, a := range n.Attr {
		has[a.Key] = a.Val
	}
	for key, value := range has {
		switch {
		case strings.HasPrefix(key, "on"), key == "style", key == "src":
			t.Errorf("<%s %s=%q>", n.Data, key, value)
		case key == "href" && !strings.HasPrefix(value, "#") && value != "data:,":
			t.Errorf("<%s> leads to %s", n.Data, value)
		case key == "id" && ids[value]:
			t.Errorf("two elements are called %s", value)
		}
	}
	if id := has["id"]; id != "" {
		ids[id] = true
	}
	if n.Data == "th" && has["scope"] == "" {
		t.Errorf("a head of a table belongs to nothing: %v", n.FirstChild)
	}
}

// TestThePageOpens without an error, without a request, and with a policy that holds; a host's words stay words.
func TestThePageOpens(t *testing.T) {
	t.Parallel()
	page := writePage(t, fewHosts)
	b := startBrowser(t, 1400, 1000)
	b.open(page)
	if title := eval[string](b, "document.title"); !strings.HasPrefix(title, "Fleet europe: 62 hosts, ") {
		t.Errorf("the title is %q", title)
	}
	if n := eval[int](b, `document.querySelector("#host-table tbody").rows.length`); n != fewHosts+2 {
		t.Errorf("%d rows", n)
	}
	if text := eval[string](b, `document.body.innerText`); !strings.Contains(text, `\x1b[2J<script>document.title='owned'</script>\u202eevil "quoted" 'words' & more`) {
		t.Error("the words of a hostile host are not there as they are")
	}
	if eval[int](b, "document.styleSheets[0].cssRules.length") == 0 || !eval[bool](b, `document.documentElement.classList.contains("script")`) {
		t.Error("the style or the script was not taken")
	}
	if faults, requests := b.heard(); len(faults)+len(requests) > 0 {
		t.Errorf("faults %q, requests %q", faults, requests)
	}
	eval[chromedp.Void](b, `{
		const s = document.createElement("script"); s.textContent = "window.owned = 1"; document.body.append(s);
		document.body.insertAdjacentHTML("beforeend", "<p style='color:red' onclick='window.owned = 1' id=injected>x</p><img src='http://127.0.0.1:1/x'>");
		document.getElementById("injected").click(); fetch("http://127.0.0.1:1/").catch(() => {});
	}`)
	if eval[bool](b, `"owned" in window || getComputedStyle(document.getElementById("injected")).color === "rgb(255, 0, 0)"`) {
		t.Error("the policy let something in")
	}
	if faults, _ := b.heard(); len(faults) < 4 {
		t.Errorf("the policy refused only %q", faults)
	}
}

// TestThePageNeedsNoScript: everything is there, and nothing that does nothing.
func TestThePageNeedsNoScript(t *testing.T) {
	t.Parallel()
	page := writePage(t, fewHosts)
	b := startBrowser(t, 1400, 1000)
	call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	b.open(page)
	if eval[bool](b, `document.documentElement.classList.contains("script")`) {
		t.Fatal("the script ran")
	}
	for what, n := range map[string]int{
		`[...document.querySelectorAll("button, input, output")].filter((e) => e.checkVisibility()).length`: 0,
		`[...document.querySelectorAll("#host-table tbody tr")].filter((e) => e.checkVisibility()).length`:  fewHosts + 2,
	} {
		if got := eval[int](b, what); got != n {
			t.Errorf("%s: %d, want %d", what, got, n)
		}
	}
}

const (
	shownHosts = `[...document.querySelectorAll("#host-table tbody tr:not([hidden]) th")].map((e) => e.textContent)`
	countText  = `document.getElementById("count").textContent`
)

// wait waits until an expression is true.
func (b *browser) wait(expression string) {
	b.tb.Helper()
	eval[bool](b, "(async () => { while (!("+expression+")) await new Promise((done) => setTimeout(done, 10)); return true; })()")
}

// TestFilter: words of any column, and what the table of concerns offers.
func TestFilter(t *testing.T) {
	t.Parallel()
	page := writePage(t, fewHosts)
	b := startBrowser(t, 1400, 1000)
	b.open(page)
	b.do(chromedp.Focus("#filter"), chromedp.KeyEvent("WEB- nothing"))
	b.wait(countText + ` === "0 of 62 hosts"`)
	b.do(chromedp.KeyEvent(strings.Repeat(kb.Backspace, len("nothing")) + "accepted"))
	b.wait("!" + countText + `.startsWith("0 of")`)
	shown := eval[[]string](b, shownHosts)
	for _, host := range shown {
		if !strings.HasPrefix(host, "web-") {
			t.Errorf("%s is shown", host)
		}
	}
	if count := eval[string](b, countText); len(shown) < 3 || !strings.HasPrefix(count, strconv.Itoa(len(shown))+" of") {
		t.Errorf("%d hosts are shown, and the count says %q", len(shown), count)
	}
	b.do(chromedp.Focus(`button[data-filter="connect-failed"]`), chromedp.KeyEvent(kb.Enter))
	if got := eval[[]string](b, shownHosts); !slices.Equal(got, []string{"build-01.example.com"}) {
		t.Errorf("the hosts of connect-failed: %q", got)
	}
	b.do(chromedp.KeyEvent(strings.Repeat(kb.Backspace, len("connect-failed")))) // the button left the focus in the field
	b.wait(countText + ` === "62 hosts"`)
	if faults, _ := b.heard(); len(faults) > 0 {
		t.Error(faults)
	}
}

// TestSortByKeyboard: the heads are buttons, in the order of the columns, and say which way they sort.
func TestSortByKeyboard(t *testing.T) {
	t.Parallel()
	page := writePage(t, fewHosts)
	b := startBrowser(t, 1400, 1000)
	b.open(page)
	before := eval[[]string](b, shownHosts)
	b.do(chromedp.Focus("#filter"), chromedp.KeyEvent(kb.Tab)) // to the head of the first column
	if got := eval[string](b, "document.activeElement.textContent"); got != "Host" {
		t.Fatalf("the focus is on %q", got)
	}
	if eval[string](b, "getComputedStyle(document.activeElement).outlineStyle") == "none" {
		t.Error("nobody sees the focus")
	}
	b.do(chromedp.KeyEvent(kb.Enter))
	const order = `document.querySelector("#host-table [aria-sort]").getAttribute("aria-sort") + document.querySelector("#host-table [aria-sort]").cellIndex`
	if got := eval[string](b, order); got != "descending0" {
		t.Errorf("sorted %s", got)
	}
	slices.Reverse(before)
	if got := eval[[]string](b, shownHosts); !slices.Equal(got, before) {
		t.Errorf("in the order %q, want %q", got, before)
	}
	b.do(chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent(" "))
	if got := eval[string](b, order); got != "ascending1" {
		t.Errorf("sorted %s", got)
	}
	states := eval[[]string](b, `[...document.querySelectorAll("#host-table tbody tr td:nth-child(2)")].map((e) => e.textContent.trim())`)
	if !slices.IsSorted(states) {
		t.Errorf("states in the order %q", states)
	}
}

// TestAPhoneReadsATable: rows are cards there, and still rows and cells to a screen reader; nothing is wider than the screen.
func TestAPhoneReadsATable(t *testing.T) {
	t.Parallel()
	page := writePage(t, fewHosts)
	b := startBrowser(t, 390, 844)
	b.do(chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile))
	b.open(page)
	if wide := eval[int](b, "document.documentElement.scrollWidth"); wide > 390 {
		t.Errorf("the page is %d wide", wide)
	}
	roles := map[string]int{}
	for _, n := range call(b, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{}).Nodes {
		if n.Role != nil && !n.Ignored {
			roles[strings.Trim(string(n.Role.Value), `"`)]++
		}
	}
	for role, least := range map[string]int{
		"row": fewHosts, "rowheader": fewHosts, "cell": 9 * fewHosts, "columnheader": 10, "banner": 1, "navigation": 1, "main": 1, "contentinfo": 1,
		"search": 1, "searchbox": 1, "status": 1,
	} {
		if roles[role] < least {
			t.Errorf("%d nodes are a %s, want %d at least; there are %v", roles[role], role, least, roles)
		}
	}
}

// TestPrint: every page of the table has its head, and a row is on one page.
func TestPrint(t *testing.T) {
	t.Parallel()
	page := writePage(t, fewHosts)
	b := startBrowser(t, 1400, 1000)
	b.open(page)
	pdf := filepath.Join(t.TempDir(), "fleet.pdf")
	b.print(pdf)
	text, err := exec.Command("pdftotext", "-layout", pdf, "-").Output()
	if err != nil {
		t.Fatal(err)
	}
	pages := strings.Split(strings.TrimSuffix(string(text), "\f"), "\f")
	head := regexp.MustCompile(`(?m)^ *Host +State +Proof +EK public hash, serial +TPM +CA .*\n\s*\n?(.*)$`)
	with := 0
	for i, p := range pages {
		found := head.FindStringSubmatch(p)
		if found == nil {
			if with > 0 && i < len(pages)-1 {
				t.Errorf("page %d has no head", i+1)
			}
			continue
		}
		with++
		if !regexp.MustCompile(`^\S+ +\S+ +(proven|claimed|yes)`).MatchString(found[1]) {
			t.Errorf("page %d begins with a part of a row: %q", i+1, found[1])
		}
		if !regexp.MustCompile(`\b\d+ / \d+\s*$`).MatchString(p) {
			t.Errorf("page %d has no number", i+1)
		}
	}
	if with < 4 {
		t.Errorf("%d of %d pages have the table's head", with, len(pages))
	}
	if last := pages[len(pages)-1]; !strings.Contains(last, "End of the report") || !strings.Contains(last, "Signature") {
		t.Errorf("the last page is %q", last)
	}
}
