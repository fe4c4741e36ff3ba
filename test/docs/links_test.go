package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	linkTarget = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading    = regexp.MustCompile(`(?m)^#+ (.*)$`)
	notInSlug  = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// TestLinksLeadSomewhere: files are there, and so are the headings in them.
func TestLinksLeadSomewhere(t *testing.T) {
	t.Parallel()
	for _, pattern := range []string{"*.md", "docs/*.md", "test/*/*.md"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, file := range files {
			for _, m := range linkTarget.FindAllStringSubmatch(text(t, file), -1) {
				checkLink(t, file, m[1])
			}
		}
	}
}

func checkLink(t *testing.T, from, target string) {
	t.Helper()
	if strings.Contains(target, "://") {
		return // other people's pages are theirs to keep
	}
	name, anchor, _ := strings.Cut(target, "#")
	file := from
	if name != "" {
		file = filepath.Join(filepath.Dir(from), name)
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("%s: %s: %v", from, target, err)
		return
	}
	if anchor != "" && !hasHeading(text(t, file), anchor) {
		t.Errorf("%s: %s: there is no such heading", from, target)
	}
}

// hasHeading says whether a page has a heading that GitHub calls so.
func hasHeading(page, anchor string) bool {
	for _, m := range heading.FindAllStringSubmatch(page, -1) {
		if slug := strings.ReplaceAll(notInSlug.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-"); slug == anchor {
			return true
		}
	}
	return false
}

// TestEveryPageIsInTheIndex: a page that docs/README.md doesn't name is found by nobody.
func TestEveryPageIsInTheIndex(t *testing.T) {
	t.Parallel()
	index := text(t, filepath.Join(root, "docs", "README.md"))
	files, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if name := filepath.Base(file); name != "README.md" && !strings.Contains(index, "]("+name+")") {
			t.Errorf("docs/README.md does not name %s", name)
		}
	}
}

func text(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
