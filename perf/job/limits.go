package job

// Bounds of what a file may ask for.
const (
	textMax     = 1 << 20
	sectionsMax = 1024
	clonesMax   = 1024
	depthMax    = 4096
	blockMax    = 16 << 20
	sharesMax   = 1024 // different block sizes of a job
	percentsMax = 20   // as fio
)
