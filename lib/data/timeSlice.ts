export { createTimeSlice } from '../core/timeSlice.js'
