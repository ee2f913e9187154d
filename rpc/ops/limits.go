package ops

import "time"

const (
	// readTime bounds the arrival of one request, writeTime its answer: a profile takes as long as
	// it is asked to.
	readTime  = 5 * time.Second
	writeTime = 5 * time.Minute
	// headerBytes bounds a request's header.
	headerBytes = 16 << 10
	// maxScrapes bounds the scrapes under way, those included that are not waited for any more;
	// scrapeTime how long one is waited for. Beyond them the answer is 503.
	maxScrapes = 2
	scrapeTime = 8 * time.Second
	// healthTime is how long /healthz waits for the process to say how it is.
	healthTime = 2 * time.Second
	// maxOwner bounds the name of a token's owner, maxTokenFile a file of tokens, in bytes. A
	// larger one is refused.
	maxOwner     = 64
	maxTokenFile = 1 << 20
)
