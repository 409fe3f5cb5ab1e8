"""`scripts/fuzz`: attacks a real relay with made-up and mutated input, and watches that it keeps its promises meanwhile.

command     the command; plan: what one run is
cases       one input, for a listener or as an upstream's answer: a small readable file, and its bytes on the wire
grammar     makes cases from a seed: requests, entrances (proxy and status port), answers (of `replies`), HTTP/2 frames; mutate: spoils them
running     the relay as a process; fence: it reaches nothing but what is the fuzzer's
upstream    what answers in a provider's place, over HTTP/1.1 and HTTP/2
clients     those that send the cases, and the well-behaved ones that must be served all the while
reading     how much of an answer a client has got; what is in it, behind encodings too
invariants  what must hold, looked at while it runs and at the end
campaign    the run: starts all of them, gives out the cases, narrows a finding down to the case that makes it
report      what a person sees

It belongs to the checkout and not to the package: nothing in addon/ knows it. Cases are made from seed, part and number alone, so that a
run can be repeated as far as its input is concerned.
"""
