package agentloop

// Post puts a message into the inbox of a run, as a process does that dies right behind it.
var Post = post
