package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
)

var errQuote = errors.New("a quote is not closed")

// CommandWords splits a command (cluster.tctl) into the program and its arguments. A path of a file that is there is
// one word, whatever blanks it has; else blanks separate words, and quotes ("…", '…') and a backslash keep them
// together, as in a shell. Nothing is expanded. The error says what is wrong with the quotes.
func CommandWords(command string) ([]string, error) {
	if isFile(command) {
		return []string{command}, nil
	}
	var words []string
	var word strings.Builder
	var quote rune
	inWord, escaped := false, false
	for _, r := range command {
		switch {
		case escaped:
			word.WriteRune(r)
			escaped = false
		case r == '\\' && quote != '\'':
			escaped, inWord = true, true
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '"' || r == '\''):
			quote, inWord = r, true
		case quote == 0 && strings.ContainsRune(" \t\r\n", r):
			if inWord {
				words = append(words, word.String())
				word.Reset()
			}
			inWord = false
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	if quote != 0 || escaped {
		return nil, errQuote
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}

// resolveCommand makes the program of a command independent of the working directory: a path is relative to the
// directory of fleet.yaml, and ~/ is the user's home. A name without a slash is looked up in PATH later. Arguments stay
// as they are: those of kubectl and ssh are for elsewhere. What CommandWords refuses is left to it.
func resolveCommand(dir, command string) string {
	if path := resolveProgram(dir, command); isFile(path) {
		return quoteWord(path)
	}
	words, err := CommandWords(command)
	if err != nil || len(words) == 0 || !strings.ContainsRune(words[0], '/') {
		return command
	}
	words[0] = resolveProgram(dir, words[0])
	for i := range words {
		words[i] = quoteWord(words[i])
	}
	return strings.Join(words, " ")
}

// resolveProgram makes a path with a slash absolute, so that "./tctl" never becomes a name to look up in PATH.
func resolveProgram(dir, program string) string {
	if rest, ok := strings.CutPrefix(program, "~/"); ok {
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, rest)
		}
	}
	if !strings.ContainsRune(program, '/') || filepath.IsAbs(program) {
		return program
	}
	path, err := filepath.Abs(filepath.Join(dir, program))
	if err != nil {
		return program
	}
	return path
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && strings.ContainsRune(path, '/')
}

// quoteWord writes a word so that CommandWords reads it back.
func quoteWord(word string) string {
	if word != "" && !strings.ContainsAny(word, " \t\r\n\"'\\") {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
