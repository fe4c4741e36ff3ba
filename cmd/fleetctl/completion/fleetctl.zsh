#compdef fleetctl
# zsh completion for fleetctl: source <(fleetctl completion zsh), behind compinit; or a file _fleetctl in fpath

_fleetctl() {
  local line
  local -a names descriptions
  for line in ${(f)"$("${words[1]}" __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)"}; do
    if [[ ${line%%$'\t'*} == :files ]]; then
      _files
      continue
    fi
    names+=("${line%%$'\t'*}")
    descriptions+=("${line%%$'\t'*}  ${line#*$'\t'}")
  done
  (( $#names )) && compadd -l -d descriptions -a names
}

if [ "$funcstack[1]" = "_fleetctl" ]; then
  _fleetctl "$@"
else
  compdef _fleetctl fleetctl
fi
