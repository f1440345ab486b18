#compdef runtimectl

# What zsh completes on a command line of runtimectl; installed as _runtimectl. runtimectl itself lists the words that can
# come next; it asks the daemon for the names of runtimes and the numbers of generations, for a second at most.

_runtimectl() {
    local answer line word
    local -a found
    # Of the word that is being typed it need only know whether that is an option: zsh has its own ways of matching.
    answer=$(runtimectl __complete words "${(@Q)words[2,CURRENT-1]}" "${(M)PREFIX:#-*}" 2>/dev/null)
    case $? in
        0)
            for line in "${(@f)answer}"; do
                word=${line%%$'\t'*}
                [[ -z $word ]] || found+=("${${word//\\/\\\\}//:/\\:}:${line#*$'\t'}")
            done
            _describe -V runtimectl found
            ;;
        3) # the name of a file
            [[ $PREFIX != --*=* ]] || compset -P '*='
            _files
            ;;
        *) return 1 ;;
    esac
}

# compinit runs this file as the function; otherwise it was sourced.
if [[ ${funcstack[1]-} == _runtimectl ]]; then
    _runtimectl "$@"
else
    compdef _runtimectl runtimectl
fi
