# What bash completes on a command line of runtimectl. runtimectl itself lists the words that can come next; it asks the
# daemon for the names of runtimes and the numbers of generations, for a second at most.

_runtimectl() {
    local found
    COMPREPLY=()
    # By its name alone: a path that is being typed is not yet meant to be run.
    found=$(runtimectl __complete bash "${COMP_LINE:0:COMP_POINT}" "$COMP_WORDBREAKS" 2>/dev/null)
    case $? in
        0) [[ -z $found ]] || mapfile -t COMPREPLY <<<"$found" ;;
        3) compopt -o default 2>/dev/null ;; # the name of a file
    esac
}

complete -o nosort -F _runtimectl runtimectl
