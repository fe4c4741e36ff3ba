# bash completion for fleetctl: source <(fleetctl completion bash)

_fleetctl() {
  # Bash breaks words at : and =, which patterns and flags have: the words are made anew, of the line up to the cursor.
  local line=${COMP_LINE:0:COMP_POINT} reply text IFS=$' \t\n'
  local -a words
  read -ra words <<<"$line"
  [[ $line == *[[:blank:]] ]] && words+=("")
  local last=${words[${#words[@]}-1]}
  # What stands before the part that bash completes has to go from the candidates.
  local part=${COMP_WORDS[COMP_CWORD]}
  [[ $part == [:=] ]] && part=
  local head=${last%"$part"}
  COMPREPLY=()
  while IFS=$'\t' read -r text _; do
    if [[ $text == :files ]]; then
      compopt -o default 2>/dev/null
      continue
    fi
    COMPREPLY+=("${text#"$head"}")
  done < <("${words[0]}" __complete -- "${words[@]:1}" 2>/dev/null)
  [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace 2>/dev/null
  return 0
}

complete -F _fleetctl fleetctl
